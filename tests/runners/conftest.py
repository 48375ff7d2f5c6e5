"""What the tests of runs start from."""

from __future__ import annotations

import pytest

from minigpt4.runners import runner_base


@pytest.fixture(autouse=True)
def _no_curves(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than a run of a toy; tests with ``curves`` in their name do it."""
    if "curves" not in request.node.name:
        monkeypatch.setattr(runner_base, "plot_curves", lambda *_: None)

"""EVA's layers in bfloat16 on a CPU, against autocast's and float32."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from conftest import pictures, small_settings

from minigpt4.models import merging
from minigpt4.models.products import has_pointwise
from minigpt4.models.vision import build_vision, narrow
from minigpt4.models.vision.narrow import NarrowLayers

pytestmark = pytest.mark.skipif(not has_pointwise(), reason="oneDNN without bfloat16")


def encoder(**changes: Any) -> Any:
    """Three heads and an MLP of 209, which is no multiple of anything."""
    sizes = {"embed_dim": 48, "depth": 3, "num_heads": 3}
    torch.manual_seed(0)
    made = build_vision(small_settings(vit_config=sizes, **changes)).requires_grad_(False)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made.eval()


def run(made: Any, *, autocast: bool = True) -> torch.Tensor:
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        return made(pictures(2))


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.fixture
def taken(monkeypatch) -> Iterator[list[int]]:
    """A number for each time that the blocks were used."""
    calls: list[int] = []
    plain = NarrowLayers.__call__

    def counted(self: NarrowLayers, tokens: torch.Tensor) -> torch.Tensor:
        calls.append(len(tokens))
        return plain(self, tokens)

    monkeypatch.setattr(NarrowLayers, "__call__", counted)
    yield calls


def test_as_close_to_float32_as_autocast(taken, monkeypatch):
    made = encoder()
    exact = run(made, autocast=False)
    assert not taken
    found = run(made)
    assert taken == [2]
    assert found.dtype == torch.float32
    monkeypatch.setattr(NarrowLayers, "can_take", lambda *_: False)
    theirs = run(made)
    assert taken == [2]
    assert 0 < error(found, exact) < 1.2 * error(theirs, exact) < 0.02


def load(made: Any) -> None:
    made.load_state_dict({n: 0.8 * v for n, v in made.state_dict().items()})


def assign(made: Any) -> None:
    made.load_state_dict({n: 0.8 * v for n, v in made.state_dict().items()}, assign=True)


def element(made: Any) -> None:
    with torch.no_grad():
        made.blocks[1].mlp.fc1.bias[3] += 3


@pytest.mark.parametrize("change", [load, assign, element], ids=lambda each: each.__name__)
def test_changed_weights_are_noticed(change, taken):
    made = encoder()
    before = run(made)
    change(made)
    exact = run(made, autocast=False)
    found = run(made)
    assert len(taken) == 2
    assert error(found, exact) < 0.02 < error(before, exact)


def test_a_copy_has_weights_of_its_own(taken):
    made = encoder()
    before = run(made)
    other = copy.deepcopy(made)
    load(other)
    assert torch.equal(run(made), before)
    assert error(run(other), run(other, autocast=False)) < 0.02
    assert len(taken) == 3


def test_cast_once(monkeypatch):
    made = encoder()
    before = run(made)
    monkeypatch.setattr(narrow._Block, "of", None)
    assert torch.equal(run(made), before)


def test_not_where_gradients_or_dropped_paths_or_too_little_memory_are(taken, monkeypatch):
    made = encoder(drop_path_rate=0.5)
    run(made.train())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made.eval()(pictures(2))
    with monkeypatch.context() as patch:
        patch.setattr(merging, "_MEMORY_SHARE", 0)
        run(made)
    assert not taken
    run(made)
    run(encoder().train())
    assert taken == [2, 2]

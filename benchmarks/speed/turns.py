"""All subjects' actions timed in turn, so that a machine whose speed drifts treats them alike."""

from __future__ import annotations

import contextlib
import itertools
import json
import statistics
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from minigpt4.common.errors import ResourceError
from minigpt4.common.logger import progress

_COMPARED = (
    ("train_b4_s", "train_b4_cached_s"),
    ("train_mixed_s", "train_even_s"),
    ("generate_b4x20_s", "generate_b4x20_cached_s"),
)
"""Actions whose ratios are told."""


class Running:
    """A subject in a process of its own that waits for what to do; see ``speed.subjects``.

    Args:
        name: Of the subject.
        command: What starts the process.
        environment: Its environment variables.

    Attributes:
        build_s: Seconds that building the model took.
        actions: Names of what can be timed.
    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed below
        self._process = subprocess.Popen(
            command, env=dict(environment), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
        )  # fmt: skip
        built = self._answer()
        self.build_s: float = built["build_s"]
        self.actions: list[str] = built["actions"]

    def ask(self, what: str) -> Any:
        """Seconds of an action, ``peak_rss_mb``, or ``shares``.

        Raises:
            ResourceError: The process died.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # what it died of is told below
            self._process.stdin.write(f"{what}\n")
            self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
        self._errors.close()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            said = self._errors.read().strip().splitlines()
            last = said[-1] if said else f"exit code {self._process.returncode}"
            raise ResourceError(f"measuring {self.name} failed: {last}")
        return json.loads(line)


def time_in_turn(subjects: Sequence[Running], rounds: int) -> list[dict[tuple[str, str], float]]:
    """Seconds by subject and action, a mapping for each round.

    An action is timed in all rounds before the next one, as in a run, which does not go back and
    forth between training and answering. Actions that are compared with each other take turns, too.

    Args:
        subjects: Those that have an action are timed one after the other.
        rounds: How often.
    """
    actions = dict.fromkeys(name for each in subjects for name in each.actions)
    group_of = {name: group for group in _COMPARED for name in group}
    groups = dict.fromkeys(group_of.get(name, (name,)) for name in actions)
    found: list[dict[tuple[str, str], float]] = [{} for _ in range(rounds)]
    with progress(total=rounds * len(actions), desc="measuring", unit="turn") as bar:
        for group in groups:
            for seconds, action in itertools.product(found, group):
                for subject in subjects:
                    if action in subject.actions:
                        seconds[subject.name, action] = float(subject.ask(action))
                bar.update(action in actions)
    return found


def median_ratio(
    rounds: Sequence[Mapping[tuple[str, str], float]], top: tuple[str, str], bottom: tuple[str, str]
) -> float:
    """Median over rounds of one subject's action over another's."""
    return round(statistics.median(each[top] / each[bottom] for each in rounds), 3)

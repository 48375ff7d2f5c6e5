"""The file of an evaluation's answers: appended to as they are made, so that none is lost.

JSON lines: first ``{"run": {...}}``, what made the answers; then one line a prediction. A sample
that is answered again gets another line, and the last one counts. Of several processes each
appends to a part of its own, and the parts are merged into the one file.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from minigpt4.common.errors import ConfigError, DataError, naming
from minigpt4.common.files import make_folder, save_atomic, write_text
from minigpt4.scoring.prediction import Prediction
from minigpt4.tasks.identity import differences

logger = logging.getLogger(__name__)

_SUFFIX = "_predictions.jsonl"
_SYNC_SECONDS = 10.0
"""Flushed lines outlive a killed process; so often they are also made to outlive the machine."""
_SHOWN = 3


def predictions_path(folder: Path, name: str) -> Path:
    """The file of an entry's answers."""
    return folder / f"{name}{_SUFFIX}"


def entry_of(path: Path) -> str:
    """The name that an entry's files begin with."""
    return path.name.removesuffix(_SUFFIX).removesuffix(".jsonl")


def read_predictions(path: Path) -> tuple[dict[str, Any], list[Prediction]]:
    """The run and its predictions, in the order of the data; an unfinished file gives fewer.

    Pictures are also found from another working folder than the evaluation's.

    Raises:
        DataError: There is no such file, or it is none of predictions.
    """
    if not path.is_file():
        raise DataError(f"There is no file of predictions {path}: name a *{_SUFFIX}.")
    saved = read_saved(path)
    if saved is None:
        raise DataError(f"{path} is no file of predictions: its first line does not say what ran.")
    predictions = {each.id: each for each in saved.answers.values()}
    folder = Path(saved.run.get("folder") or "")  # where the evaluation ran, if not here
    for each in predictions.values():
        if each.image_path and not Path(each.image_path).exists():
            each.image_path = str(folder / each.image_path)
    return saved.run, list(predictions.values())


@dataclass(slots=True)
class Saved:
    """What files hold.

    Attributes:
        run: The first line.
        answers: The last line of each sample and try (0, or the round of resampling).
        lines: How many lines of predictions there were.
    """

    run: dict[str, Any]
    answers: dict[tuple[str, int], Prediction] = field(default_factory=dict)
    lines: int = 0

    def add(self, predictions: Iterable[Prediction]) -> None:
        """Take lines in their order."""
        for each in predictions:
            self.answers[each.id, each.tries] = each
            self.lines += 1

    def merge(self, other: Saved) -> None:
        """Take what another file of the run holds."""
        self.answers |= other.answers
        self.lines += other.lines


def read_saved(path: Path) -> Saved | None:
    """Every whole line of a file; None when not even the first is whole.

    A last line that a killed process left torn is passed over.

    Raises:
        DataError: Another line cannot be read.
    """
    *lines, _ = path.read_bytes().split(b"\n")
    saved: Saved | None = None
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if saved is None:
                saved = Saved(dict(row["run"]))
            else:
                saved.add([Prediction.from_row(row)])
        except (ValueError, KeyError, TypeError, AttributeError):
            if number == len(lines):  # the machine stopped while the line was on its way to disk
                break
            raise DataError(f"Line {number} of {path} is no prediction.") from None
    return saved


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other evaluations from writing to a file; a killed process lets go of it.

    Raises:
        ConfigError: Another process is at it.
    """
    try:
        import fcntl
    except ImportError:  # Windows, where this is the user's to see to
        yield
        return
    lock = path.with_name(f".{path.stem}.lock")
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"Another evaluation is writing {path}: let it end or stop it, or choose another "
                "run.save_path."
            ) from None
        except OSError:  # a file system that knows no locks
            logger.debug("%s cannot be locked", lock)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


class PredictionFile:
    """The file of one run, to be continued and appended to.

    Args:
        path: The file; parts of several processes lie beside it.
        run: What makes the answers; ``key`` decides what may be continued.
    """

    def __init__(self, path: Path, run: Mapping[str, Any]) -> None:
        self.path = path
        self.run = dict(run)

    def part(self, rank: int) -> Path:
        """The part of one of several processes."""
        return self.path.with_name(f"{self.path.stem}.part{rank}.jsonl")

    def set_aside(self) -> Path | None:
        """Rename what is there, parts included; the new name, or None where nothing was."""
        aside = None
        for path in [*self._parts(), self.path]:
            if path.is_file():
                aside = _free_name(path)
                path.replace(aside)
        return aside

    def holds_finished_other(self) -> bool:
        """Whether another run's answers are there, all of them."""
        if not self.path.is_file() or self._parts():
            return False
        found = read_saved(self.path)
        if found is None or found.run.get("key") == self.run["key"]:
            return False
        return len({name for name, _ in found.answers}) == found.run.get("samples")

    def saved(self) -> Saved | None:
        """What this run left in the file and in parts; None when there is nothing yet.

        Raises:
            ConfigError: They are another run's.
            DataError: A file cannot be read.
        """
        whole: Saved | None = None
        for path in (self.path, *self._parts()):
            found = read_saved(path) if path.is_file() else None
            if found is None or not found.answers:
                continue
            if found.run.get("key") != self.run["key"]:
                changes = differences(found.run, self.run)
                more = f" and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
                count = len({name for name, _ in found.answers})
                raise ConfigError(
                    f"{path} holds {count} answers of another run, which is not finished "
                    f"({'; '.join(changes[:_SHOWN])}{more}): finish that one, choose another "
                    "run.save_path, or begin anew with --fresh, which keeps the old file under "
                    "another name."
                )
            if whole is None:
                whole = Saved(found.run)
            whole.merge(found)
        return whole

    def is_tidy(self, saved: Saved, order: Mapping[str, int]) -> bool:
        """Whether the one file holds all of it, in order, and nothing twice."""
        lines = [(tries, order[name]) for name, tries in saved.answers]
        return saved.lines == len(lines) and lines == sorted(lines) and not self._parts()

    def write(self, saved: Saved, order: Mapping[str, int]) -> None:
        """Write everything into the one file, whole or not at all, and remove the parts.

        Args:
            saved: What to write.
            order: Sample ids to their place in the data.
        """
        answers = sorted(saved.answers.values(), key=lambda each: (each.tries, order[each.id]))
        text = _lines([{"run": saved.run}, *map(asdict, answers)])
        save_atomic(self.path, lambda temporary: write_text(temporary, text))
        saved.lines = len(answers)
        for part in self._parts():
            part.unlink()

    def _parts(self) -> list[Path]:
        return sorted(self.path.parent.glob(f"{self.path.stem}.part*.jsonl"))


class Appender:
    """Appends batches of predictions to a file, each flushed at once.

    Args:
        path: The file; it begins with ``run`` where it is new.
        run: What makes the answers.
    """

    def __init__(self, path: Path, run: Mapping[str, Any]) -> None:
        self.path = path
        make_folder(path.parent)
        self._file = path.open("a", encoding="utf-8")
        self._synced = time.monotonic()
        if not self._file.tell():
            self._write([{"run": dict(run)}])

    def append(self, predictions: Sequence[Prediction]) -> None:
        """Write one batch."""
        self._write([asdict(each) for each in predictions])

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        with naming(self.path):
            self._file.write(_lines(rows))
            self._file.flush()
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _free_name(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.stem}.old{number}.jsonl")).exists():
        number += 1
    return aside

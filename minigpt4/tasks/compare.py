"""Runs against each other, from their files of predictions: ``evaluate.py compare A B ...``."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minigpt4.common.errors import ConfigError, DataError
from minigpt4.common.files import make_folder, write_json, write_text
from minigpt4.reports import compare_text
from minigpt4.reports.shared import overlap_statement
from minigpt4.scoring.comparison import DataComparison, compare_pair, score_run
from minigpt4.scoring.kinds import ScoreOptions, get_kind
from minigpt4.scoring.prediction import Prediction
from minigpt4.tasks.prediction_file import entry_of, predictions_path, read_predictions

logger = logging.getLogger(__name__)

_EXTRAS = ("overlap", "train_count", "metric")
"""What evaluation adds to a sample's meta: what training holds of it, what decides if it is right.
"""
_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Runs, compared on every data set that all of them answered.

    Attributes:
        parts: One a data set.
        files: ``markdown``, ``json`` and ``report``, where they were written.
    """

    parts: Sequence[DataComparison]
    files: Mapping[str, Path] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class _Run:
    """A file of predictions, read."""

    name: str
    path: Path
    run: dict[str, Any]
    predictions: list[Prediction]


def compare(paths: Sequence[str | Path], *, out: str | Path | None = None) -> Comparison:
    """Compare runs on the same data; the first is what the others are compared to.

    Args:
        paths: Files of predictions, or folders of them (every data set that all folders answer is
            compared).
        out: Folder for ``compare.md``, ``compare.json`` and ``compare.html``; None writes none.
    Raises:
        ConfigError: Fewer than two runs are named, or one twice.
        DataError: A file is missing, runs are on different data, or one lacks samples.
    """
    chosen = [Path(each) for each in paths]
    if len(chosen) < 2:
        raise ConfigError("A comparison takes two runs or more: name their files or folders.")
    twice = [each for i, each in enumerate(chosen) if each.resolve() in _resolved(chosen[:i])]
    if twice:
        raise ConfigError(f"{twice[0]} is named twice: a run is not compared to itself.")
    groups, left_out = _files(chosen)
    comparison = Comparison(parts=[_compare(name, files) for name, files in groups.items()])
    for note in left_out:
        logger.warning("%s", note)
    if out is None:
        return comparison
    return dataclasses.replace(comparison, files=_write(comparison, Path(out)))


def render_text(comparison: Comparison) -> str:
    """The comparison for a terminal."""
    return compare_text.plain(comparison.parts)


def _write(comparison: Comparison, folder: Path) -> dict[str, Path]:
    from minigpt4.reports.compare_page import write_page

    make_folder(folder)
    files = {
        "markdown": folder / "compare.md",
        "json": folder / "compare.json",
        "report": folder / "compare.html",
    }
    write_text(files["markdown"], compare_text.markdown(comparison.parts))
    write_json(files["json"], [compare_text.as_json(each) for each in comparison.parts])
    write_page(files["report"], comparison.parts)
    logger.info("Written: %s", ", ".join(map(str, files.values())))
    return files


def _resolved(paths: Sequence[Path]) -> set[Path]:
    return {each.resolve() for each in paths}


def _files(paths: Sequence[Path]) -> tuple[dict[str, list[Path]], list[str]]:
    """Files by data set, one of each run, and what is not compared."""
    if not any(each.is_dir() for each in paths):  # the data decide whether they belong together
        return {entry_of(paths[0]): list(paths)}, []
    found = [_entries(each) for each in paths]
    shared = [name for name in found[0] if all(name in each for each in found)]
    if not shared:
        there = "; ".join(
            f"{path} has {', '.join(each)}" for path, each in zip(paths, found, strict=True)
        )
        raise DataError(f"No data set was answered by all runs: {there}.")
    left_out = [
        f"Not compared: {file}, for not every run has answers on {name}"
        for each in found
        for name, file in each.items()
        if name not in shared
    ]
    return {name: [each[name] for each in found] for name in shared}, left_out


def _entries(path: Path) -> dict[str, Path]:
    if not path.exists():
        raise DataError(f"There is no file or folder {path}: name an evaluation's run.save_path.")
    if not path.is_dir():
        return {entry_of(path): path}
    files = sorted(path.glob(predictions_path(path, "*").name))
    if not files:
        raise DataError(
            f"{path} holds no file of predictions ({predictions_path(path, '<name>').name}): name "
            "an evaluation's run.save_path."
        )
    return {entry_of(each): each for each in files}


def _compare(name: str, paths: Sequence[Path]) -> DataComparison:
    read = [read_predictions(path) for path in paths]
    names = _names(paths, [run for run, _ in read])
    runs = [
        _Run(name=each, path=path, run=run, predictions=predictions)
        for each, path, (run, predictions) in zip(names, paths, read, strict=True)
    ]
    for each in runs:
        _check_whole(each)
    for each in runs[1:]:
        _check_same_data(runs[0], each)
    _align(runs)
    options, notes = _score_options(runs)
    kind = get_kind(runs[0].run["kind"])
    scored = [
        score_run(
            each.predictions,
            kind=kind, options=options, name=each.name, path=str(each.path), run=each.run,
        )
        for each in runs
    ]  # fmt: skip
    return DataComparison(
        name=str(runs[0].run.get("name") or name),
        kind=kind,
        options=options,
        runs=scored,
        pairs=[compare_pair(scored[0], each) for each in scored[1:]],
        notes=[*notes, *_notes(runs)],
    )


def _names(paths: Sequence[Path], runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The shortest names that tell runs apart: folder, checkpoint, or more of the path."""
    ways: list[Callable[[Path, Mapping[str, Any]], str]] = [
        lambda path, run: path.resolve().parent.name,
        lambda path, run: Path(run.get("ckpt") or "no checkpoint").stem,
        lambda path, run: f"{path.resolve().parent.name}/{entry_of(path)}",
        lambda path, run: f"{path.resolve().parent.parent.name}/{path.resolve().parent.name}",
    ]
    for way in ways:
        names = [way(path, run) for path, run in zip(paths, runs, strict=True)]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _check_whole(each: _Run) -> None:
    expected = each.run.get("samples")
    if not each.predictions or (expected is not None and len(each.predictions) < expected):
        raise DataError(
            f"{each.path} holds answers to {len(each.predictions)} of {expected or 'its'} samples: "
            "finish that evaluation (the same command continues it) before it is compared."
        )


def _check_same_data(first: _Run, other: _Run) -> None:
    """Refuse runs whose samples, questions or true answers differ.

    The samples themselves decide; keys only tell what else differs, since older files have none.
    """
    what = _difference(first, other)
    keys = [each.run.get("data_key") for each in (first, other)]
    if what is None and None not in keys and keys[0] != keys[1]:
        what = "their annotations differ"
    if what is not None:
        raise DataError(
            f"{first.path} and {other.path} cannot be compared: {what} (the data are "
            f"{first.run.get('eval_file')} and {other.run.get('eval_file')})."
        )


def _difference(first: _Run, other: _Run) -> str | None:
    kinds = [each.run.get("kind") for each in (first, other)]
    if kinds[0] != kinds[1]:
        return f"one is an evaluation of kind {kinds[0]}, the other of kind {kinds[1]}"
    ours, theirs = ({each.id: each for each in run.predictions} for run in (first, other))
    for have, lack, run in ((ours, theirs, other), (theirs, ours, first)):
        missing = [each for each in have if each not in lack]
        if missing:
            shown = ", ".join(missing[:_SHOWN])
            return f"{run.name} lacks {len(missing)} of {len(have)} samples, such as {shown}"
    aspects: Mapping[str, Callable[[Prediction], Any]] = {
        "the true answer": lambda each: each.reference,
        "the annotations": _annotations,
    }
    for label, of in aspects.items():
        changed = [name for name, each in ours.items() if of(each) != of(theirs[name])]
        if changed:
            return f"{label} of {len(changed)} of {len(ours)} samples differ, such as {changed[0]}"
    return None


def _annotations(prediction: Prediction) -> dict[str, Any]:
    return {name: value for name, value in prediction.meta.items() if name not in _EXTRAS}


def _align(runs: Sequence[_Run]) -> None:
    """Bring all runs into the first one's order, with equal pictures and equal extras.

    Older files do not name pictures, blanked runs show none, and a run may have been made where the
    training annotations were not at hand: the first run that knows something says it for all.
    """
    tables = [{each.id: each for each in run.predictions} for run in runs]
    for name in tables[0]:
        same = [table[name] for table in tables]
        places = [*(each.picture for each in same), *(each.image_path for each in same)]
        picture = next(filter(None, places), "")
        extras = {
            key: each.meta[key] for each in reversed(same) for key in _EXTRAS if key in each.meta
        }
        for table, each in zip(tables, same, strict=True):
            table[name] = dataclasses.replace(each, picture=picture, meta={**each.meta, **extras})
    for run, table in zip(runs, tables, strict=True):
        run.predictions = [table[name] for name in tables[0]]


def _score_options(runs: Sequence[_Run]) -> tuple[ScoreOptions, list[str]]:
    """The way of scoring of the first run that names one, for all; a note where another differs."""
    given = {each.name: each.run["score_options"] for each in runs if each.run.get("score_options")}
    if not given:
        return ScoreOptions(), []
    (leader, chosen), *others = given.items()
    options = ScoreOptions.from_mapping(chosen)
    notes = []
    for other, own in others:
        theirs = dataclasses.asdict(ScoreOptions.from_mapping(own))
        changed = {name: each for name, each in theirs.items() if each != getattr(options, name)}
        if changed:
            said = ", ".join(f"{name} {value}" for name, value in sorted(changed.items()))
            notes.append(
                f"{other} was scored with {said} when it was made; here all runs are scored as "
                f"{leader} was."
            )
    return options, notes


def _notes(runs: Sequence[_Run]) -> list[str]:
    """What makes a comparison less than even, and what the data share with training."""
    notes = [f"{each.name} saw every picture blanked." for each in runs if each.run.get("blank")]
    # Answers that have a label's probability but none of boxes come from an older version.
    boxes = {
        each.name: any("box_0" in made.probabilities for made in each.predictions)
        for each in runs
        if any("label" in made.probabilities for made in each.predictions)
    }
    if any(boxes.values()):
        notes += [
            f"{name} holds no probabilities of boxes, so its boxes are scored by their label "
            "alone; answer again with this version for an even comparison."
            for name, there in boxes.items()
            if not there
        ]
    shared = next((each.run["overlap"] for each in runs if each.run.get("overlap")), None)
    return notes if shared is None else [*notes, overlap_statement(shared)]

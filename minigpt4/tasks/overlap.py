"""Which evaluation samples also occur in training, and how common their answers are there.

A test set that shares pictures with the training set measures memory as well as skill; a number is
fair only beside the number on the part that is not shared.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minigpt4.common.errors import DataError, UserError
from minigpt4.datasets.overlap import NONE, PAIR, compare, find_train_file, keys_of

if TYPE_CHECKING:
    from minigpt4.datasets.base import RecordDataset
    from minigpt4.datasets.schema import Sample

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapReport:
    """What an evaluation set shares with the training set.

    Attributes:
        train_file: The training annotations.
        pictures: Different pictures of the evaluation set.
        pictures_in_training: Those of them that are also in the training set.
        samples: Samples of the evaluation set.
        pairs: Samples whose picture and question occur together in training; None where every
            sample asks the same.
        without: Samples whose picture is not in the training set.
        train_answers: Different answers of the training set, but for case and white space.
        unseen_answers: Samples whose answer never occurs in training.
        extras: By sample id, what to add to its meta: ``overlap`` and ``train_count``, how often
            its answer occurs in training.
    """

    train_file: str
    pictures: int
    pictures_in_training: int
    samples: int
    pairs: int | None
    without: int
    train_answers: int
    unseen_answers: int
    extras: Mapping[str, Mapping[str, Any]] = field(repr=False)

    def counts(self) -> dict[str, Any]:
        """Everything but the extras, for files."""
        names = (each for each in self.__slots__ if each != "extras")
        return {name: getattr(self, name) for name in names}


def annotate(dataset: RecordDataset, train_file: str | Path | None = None) -> OverlapReport | None:
    """Compare an evaluation set with the training annotations.

    Pictures are the same when their names are, so both sets should keep them in one folder.

    Args:
        dataset: Opened for evaluation; the training annotations are read in its way.
        train_file: The training annotations, as ``evaluation_datasets.<name>.train_file_path``
            says: None looks for them beside the evaluation file, an empty string means none.
    Returns:
        None where there are no training annotations to compare with.
    Raises:
        DataError: The file that was named is missing or cannot be read.
    """
    training = training_samples(dataset, train_file)
    if training is None:
        return None
    path, samples = training
    tested = list(dataset.described())
    found = compare([keys_of(each) for each in tested], map(keys_of, samples))
    return OverlapReport(
        train_file=str(path),
        pictures=found.pictures,
        pictures_in_training=found.pictures_in_training,
        samples=len(tested),
        pairs=found.count(PAIR) if found.asks else None,
        without=found.count(NONE),
        train_answers=found.train_answers,
        unseen_answers=found.unseen_answers,
        extras={
            sample.id: {"overlap": overlap, "train_count": count}
            for sample, overlap, count in zip(
                tested, found.overlaps, found.train_counts, strict=True
            )
        },
    )


def training_samples(
    dataset: RecordDataset, train_file: str | Path | None = None
) -> tuple[Path, list[Sample]] | None:
    """The training set in the form of an evaluation set, without pictures; see ``annotate``.

    Returns:
        The file that was read, and its samples; None where there is none.
    """
    if train_file == "":
        return None
    beside = find_train_file(Path(dataset.spec.ann_path[0]))
    path = beside if train_file is None else Path(train_file)
    if path is None:
        return None
    try:
        return path, _read(dataset, path)
    except UserError as error:
        if train_file is not None:
            raise
        # It was not asked for by name, so it may be something else that is called so.
        logger.warning("Nothing is said about the overlap with training: %s", error)
        return None


def _read(dataset: RecordDataset, path: Path) -> list[Sample]:
    name = f"evaluation_datasets.{dataset.name}.train_file_path"
    if not path.is_file():
        raise DataError(
            f"There are no training annotations {path} ({name}): correct the path, or set it to '' "
            "to go without."
        )
    try:
        return list(dataset.described(str(path)))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DataError(
            f"The training annotations {path} ({name}) are not of the form of "
            f"{', '.join(dataset.spec.ann_path)} ({type(error).__name__}: {error})."
        ) from error

"""Pictures to try in the demo: a few of the data that a configuration evaluates on."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from minigpt4.common.errors import UserError
from minigpt4.conversation.prompts import IMAGE_SLOT
from minigpt4.serve.engine import split_tag

if TYPE_CHECKING:
    from minigpt4.common.config import Config
    from minigpt4.datasets.schema import Sample

logger = logging.getLogger(__name__)

PER_DATASET = 4
_LOOKED_AT = 40
"""Samples looked at for that, for each of them is read with its picture."""


class Example(NamedTuple):
    """A picture to try, and what to ask about it.

    Attributes:
        picture: The file.
        tag: Its task.
        question: Without the tag.
    """

    picture: str
    tag: str
    question: str


def find_examples(cfg: Config, folder: Path) -> list[Example]:
    """A few samples of each entry of ``evaluation_datasets`` whose files are there.

    Args:
        cfg: The configuration.
        folder: Where copies of the pictures are put: the page may serve these and no others.
    """
    found: list[Example] = []
    for name in cfg.eval_dataset_names:
        try:
            found += _of_dataset(cfg, name)
        except UserError as error:
            logger.info("no examples of %s: %s", name, error)
    return [_copied(example, folder, number) for number, example in enumerate(found)]


def _copied(example: Example, folder: Path, number: int) -> Example:
    target = folder / f"example-{number}{Path(example.picture).suffix}"
    shutil.copyfile(example.picture, target)
    return example._replace(picture=str(target))


def _of_dataset(cfg: Config, name: str) -> list[Example]:
    """Samples of different kinds (question types, classes), spread over the data."""
    from minigpt4.tasks.eval_setup import open_eval_data

    data = open_eval_data(cfg, name)
    step = max(1, len(data.dataset) // _LOOKED_AT)
    picked: dict[Any, Example] = {}
    for index in range(0, len(data.dataset), step):
        sample = data.dataset[index]
        if sample.image_path is not None:
            picked.setdefault(_sort_of(sample), _example(sample))
        if len(picked) == PER_DATASET:
            break
    return list(picked.values())


def _example(sample: Sample) -> Example:
    """A question by itself; what else is asked in the words of the data."""
    tag, words = split_tag(sample.turns[0].instruction.removeprefix(IMAGE_SLOT))
    return Example(str(sample.image_path), tag or "", str(sample.meta.get("question") or words))


def _sort_of(sample: Sample) -> Any:
    """What makes a sample different from others: its question type, or class and state."""
    meta = sample.meta
    if "type" in meta:
        return meta["type"]
    return (meta["class"], meta["is_broken"]) if "is_broken" in meta else sample.id

"""OCR-VQA's ``dataset.json``: covers of books by key, several questions each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minigpt4.common.errors import ConfigError, DataError
from minigpt4.datasets.formats.json_lists import load_json
from minigpt4.datasets.readers import ReaderOptions, lack
from minigpt4.datasets.table import Table

_SPLITS = {"train": 1, "val": 2, "test": 3}


def read_ocr_vqa(path: Path, options: ReaderOptions) -> Table:
    """Every question of one split.

    The columns are ``image`` (the key and the ending of ``imageURL``), ``image_id`` (the key),
    ``question``, ``answer``, ``title``, ``genre``.

    Raises:
        DataError: The file is broken, or a cover has more or fewer answers than questions.
        ConfigError: The split is none of train, val and test.
    """
    if options.split not in _SPLITS:
        raise ConfigError(f"{path} has the splits {', '.join(_SPLITS)}, not {options.split!r}.")
    content = load_json(path)
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold a mapping of keys to covers, as OCR-VQA publishes it.")
    try:
        rows = [
            row
            for key, cover in content.items()
            if cover["split"] == _SPLITS[options.split]
            for row in _rows(key, cover, path)
        ]
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} is not as OCR-VQA publishes it ({lack(error)}).") from error
    if not rows:
        wanted = f"{options.split!r} (split: {_SPLITS[options.split]})"
        raise DataError(f"{path} has no question of the split {wanted}: name the whole file.")
    return Table.from_rows(rows, source=str(path))


def _rows(key: str, cover: dict[str, Any], path: Path) -> Iterator[dict[str, Any]]:
    questions, answers = cover["questions"], cover["answers"]
    if len(questions) != len(answers):
        raise DataError(
            f"{path}: {key} has {len(questions)} questions and {len(answers)} answers; fetch the "
            "file again."
        )
    if not isinstance(cover["imageURL"], str):
        raise DataError(f"{path}: {key} has no address of a picture (imageURL); fetch it again.")
    image = key + os.path.splitext(cover["imageURL"])[1]  # noqa: PTH122 - of an address
    for question, answer in zip(questions, answers, strict=True):
        yield {
            "image": image,
            "image_id": key,
            "question": question,
            "answer": answer,
            "title": cover.get("title"),
            "genre": cover.get("genre"),
        }

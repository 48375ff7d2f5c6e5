"""REFER folders: RefCOCO, RefCOCO+ and RefCOCOg as their authors publish them.

``<folder>/<dataset>/refs(<splitBy>).p`` is a pickled list of references, each with ``sentences``, a
``split`` and the ``ann_id`` of its box in ``<folder>/<dataset>/instances.json`` (COCO's format).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from minigpt4.common.errors import ConfigError, DataError
from minigpt4.common.plain_pickle import load_plain_pickle
from minigpt4.datasets.formats.json_lists import load_json
from minigpt4.datasets.readers import ReaderOptions, lack
from minigpt4.datasets.table import Table

_CHUNK = 32768


def read_refer(path: Path, options: ReaderOptions) -> Table:
    """Every sentence of the split's references.

    The columns are ``image_id``, ``phrase`` (the sentence as it was typed), ``bbox`` (left, top,
    width, height in pixels), ``width`` and ``height`` of the picture, ``ref_id``, ``sent_id``.

    ``build_info.reader_options`` (or ``build_info`` itself) must hold ``dataset`` (``refcoco``,
    ``refcoco+``, ``refcocog``; ``inv`` before it means the same files) and ``splitBy`` (``unc``,
    ``google``, ``umd``).

    Raises:
        ConfigError: One of them is missing.
        DataError: A file is missing or broken, or the split is empty.
    """
    for key in ("dataset", "splitBy"):
        if not isinstance(options.extra.get(key), str):
            raise ConfigError(f"build_info.{key} is missing; for RefCOCO it is refcoco and unc.")
    folder = path / options.extra["dataset"].removeprefix("inv")
    refs_file = folder / f"refs({options.extra['splitBy']}).p"
    for file in (refs_file, folder / "instances.json"):
        if not file.is_file():
            raise DataError(
                f"there is no {file}; unpack {folder.name}.zip into {path} (data/README.md says "
                "where it comes from), or set build_info.ann_path."
            )
    refs = load_plain_pickle(refs_file)
    instances = load_json(folder / "instances.json")
    try:
        boxes = {box["id"]: box["bbox"] for box in instances["annotations"]}
        sizes = {image["id"]: (image["width"], image["height"]) for image in instances["images"]}
        rows = list(_rows(refs, boxes, sizes, options.split))
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{refs_file} and instances.json beside it are not as REFER writes them "
            f"({lack(error)}); fetch both again."
        ) from error
    if not rows:
        there = ", ".join(sorted({str(ref.get("split")) for ref in refs}))
        raise DataError(f"{refs_file} has no split {options.split!r} (it has {there}).")
    chunks = (rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK))
    return Table.from_chunks(chunks, source=str(refs_file))


def _rows(
    refs: list[dict[str, Any]],
    boxes: Mapping[Any, list[float]],
    sizes: Mapping[Any, tuple[int, int]],
    split: str,
) -> Iterator[dict[str, Any]]:
    for ref in refs:
        if ref["split"] != split:
            continue
        width, height = sizes[ref["image_id"]]
        for sentence in ref["sentences"]:
            yield {
                "image_id": ref["image_id"],
                "phrase": sentence["raw"],
                "bbox": [float(value) for value in boxes[ref["ann_id"]]],
                "width": width,
                "height": height,
                "ref_id": ref["ref_id"],
                "sent_id": sentence["sent_id"],
            }

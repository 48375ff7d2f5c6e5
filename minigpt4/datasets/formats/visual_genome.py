"""Visual Genome's region descriptions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from minigpt4.common.errors import DataError
from minigpt4.datasets.formats.json_lists import iter_json
from minigpt4.datasets.readers import ReaderOptions, lack
from minigpt4.datasets.table import Table

_REGIONS, _IMAGES = "region_descriptions.json", "image_data.json"


def read_regions(path: Path, options: ReaderOptions) -> Table:
    """The regions of ``region_descriptions.json`` with their pictures of ``image_data.json``.

    The columns are ``image`` (``VG_100K/1.jpg`` or ``VG_100K_2/1.jpg``, the end of the picture's
    address), ``phrase``, ``bbox`` (left, top, width, height in pixels), ``width`` and ``height`` of
    the picture, ``image_id``, ``region_id``.

    Args:
        path: The folder of both files.
        options: ``build_info.reader_options`` may hold ``below_area``: only regions of fewer square
            pixels.

    Raises:
        DataError: A file is missing or broken.
    """
    for name in (_REGIONS, _IMAGES):
        if not (path / name).is_file():
            raise DataError(
                f"there is no {name} in {path}; see data/README.md for where it comes from, or set "
                "build_info.data_dir."
            )
    try:
        images = {
            # Version 1.0 of the files calls it id.
            image.get("image_id", image.get("id")): (
                "/".join(image["url"].split("/")[-2:]), image["width"], image["height"],
            )
            for part in iter_json(path / _IMAGES)
            for image in part
        }  # fmt: skip
        return Table.from_chunks(
            _chunks(path / _REGIONS, images, options.extra.get("below_area")),
            source=str(path / _REGIONS),
        )
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{path / _REGIONS} and {_IMAGES} are not as Visual Genome writes them "
            f"({lack(error)}); fetch both again."
        ) from error


def _chunks(
    path: Path, images: Mapping[Any, tuple[str, int, int]], below: float | None
) -> Iterator[list[dict[str, Any]]]:
    for part in iter_json(path):
        yield [
            _row(region, images)
            for entry in part
            for region in entry["regions"]
            if below is None or region["width"] * region["height"] < below
        ]


def _row(region: dict[str, Any], images: Mapping[Any, tuple[str, int, int]]) -> dict[str, Any]:
    image, width, height = images[region["image_id"]]
    return {
        "image": image,
        "phrase": region["phrase"],
        "bbox": [region["x"], region["y"], region["width"], region["height"]],
        "width": width,
        "height": height,
        "image_id": region["image_id"],
        "region_id": region["region_id"],
    }

"""Small tar shards as img2dataset writes them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from conftest import PROCESSORS
from PIL import Image

from minigpt4.common.settings import DatasetSettings
from minigpt4.datasets.builders import make_builder
from minigpt4.datasets.streams.dataset import StreamDataset


def picture(seed: int, format: str = "JPEG", size: tuple[int, int] = (24, 16)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format)
    return file.getvalue()


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def members(rows: Mapping[str, dict[str, Any]]) -> dict[str, bytes]:
    """A picture and a JSON file for each key."""
    made: dict[str, bytes] = {}
    for key, row in rows.items():
        made[f"{key}.jpg"] = picture(sum(key.encode()))
        made[f"{key}.json"] = json.dumps(row, ensure_ascii=False).encode()
    return made


def caption_shards(folder: Path, sizes: list[int]) -> Path:
    """Shards ``00000.tar`` ... of so many captioned pictures; captions are ``nhãn S-N``."""
    for shard, size in enumerate(sizes):
        rows = {f"{shard:05d}{n:04d}": {"caption": f"nhãn {shard}-{n}"} for n in range(size)}
        write_tar(folder / f"{shard:05d}.tar", members(rows))
    return folder


def open_stream(
    shards: str | Path, *, kind: str = "webpair", name: str = "pairs", **info: Any
) -> StreamDataset:
    settings = DatasetSettings(
        kind=kind, vis_processor=PROCESSORS, build_info={"shards": str(shards), **info}
    )
    stream = make_builder(name, settings).build_split("train")
    assert isinstance(stream, StreamDataset)
    return stream


def ids(stream: StreamDataset, count: int, *, start: int = 0) -> list[str]:
    """Ids of so many samples, without decoding them."""
    found = [stream.pair(position).id for position in range(start, start + count)]
    stream.stop()
    return found

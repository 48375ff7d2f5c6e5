"""The ViVQA stand-in: ``train.csv``, ``test.csv`` and ``images/{img_id:012d}.jpg``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PIL import Image

from minigpt4.datasets.tiny.easy_vqa_vi import (
    Question,
    balanced,
    load_picture_paths,
    load_questions,
)
from minigpt4.datasets.tiny.hands import ONE, Hands
from minigpt4.datasets.tiny.scene_questions import asked_scene
from minigpt4.datasets.tiny.streams import SPLITS, Split, Stream, rng_for

EASY_ROWS: dict[Split, int] = {"train": 6400, "test": 1000}
SCENES: dict[Split, int] = {"train": 2000, "test": 400}
# Picture numbers of the four sources never meet.
EASY_OFFSET: dict[Split, int] = {"train": 100_000, "test": 200_000}
SCENE_OFFSET: dict[Split, int] = {"train": 300_000, "test": 400_000}


def save_picture(image: Image.Image, path: Path) -> None:
    """Write a JPEG with full colour resolution, so that small coloured shapes keep their edges."""
    image.save(path, quality=95, subsampling=0)


def write_vivqa(folder: Path, *, seed: int, scale: float, hands: Hands = ONE) -> dict[str, int]:
    """Write both CSVs and all pictures.

    Args:
        folder: An existing empty folder.
        seed: Seed of everything.
        scale: Shrinks the number of rows and pictures.
        hands: Who makes the pictures.

    Returns:
        Rows and pictures by split, for the manifest.
    """
    images = folder / "images"
    images.mkdir()
    import pandas as pd

    counts: dict[str, int] = {}
    for split in SPLITS:
        rows = _easy_rows(images, split, seed=seed, scale=scale, hands=hands)
        rows += _scene_rows(images, split, seed=seed, scale=scale, hands=hands)
        rng = rng_for(seed, Stream.ORDER, 0 if split == "train" else 1)
        frame = pd.DataFrame([rows[i] for i in rng.permutation(len(rows))])
        frame.to_csv(folder / f"{split}.csv", encoding="utf-8")
        counts[f"{split}_rows"] = len(frame)
        counts[f"{split}_pictures"] = frame["img_id"].nunique()
    return counts


def _row(question: str, answer: str, img_id: int, kind: int, source: str) -> dict[str, object]:
    return {
        "question": question,
        "answer": answer,
        "img_id": img_id,
        "type": kind,
        "source": source,
    }


def _easy_rows(
    images: Path, split: Split, *, seed: int, scale: float, hands: Hands
) -> list[dict[str, object]]:
    rng = rng_for(seed, Stream.EASY_CHOICE, 0 if split == "train" else 1)
    rows = max(24, round(EASY_ROWS[split] * scale))
    chosen: list[Question] = balanced(load_questions(split), rows=rows, rng=rng)
    paths = load_picture_paths(split)
    copies = [
        (paths[picture], images / f"{EASY_OFFSET[split] + picture:012d}.jpg")
        for picture in sorted({q.picture for q in chosen})
    ]
    hands.map(_copy_picture, copies, desc=f"easy-VQA pictures ({split})")
    return [
        _row(q.text, q.answer, EASY_OFFSET[split] + q.picture, q.type, "easy_vqa") for q in chosen
    ]


def _copy_picture(places: tuple[str, Path]) -> None:
    source, target = places
    with Image.open(source) as image:
        save_picture(image.convert("RGB"), target)


def _scene_rows(
    images: Path, split: Split, *, seed: int, scale: float, hands: Hands
) -> list[dict[str, object]]:
    numbers = range(max(8, round(SCENES[split] * scale)))
    write = partial(_write_scene, images=images, seed=seed, split=split)
    asked = hands.map(write, numbers, desc=f"scenes ({split})")
    return [row for rows in asked for row in rows]


def _write_scene(number: int, *, images: Path, seed: int, split: Split) -> list[dict[str, object]]:
    """Make and save a scene; its rows."""
    stream = Stream.SCENES_TRAIN if split == "train" else Stream.SCENES_TEST
    asked = asked_scene(rng_for(seed, stream, number), number)
    img_id = SCENE_OFFSET[split] + number
    save_picture(asked.scene.image, images / f"{img_id:012d}.jpg")
    return [_row(q.text, q.answer, img_id, q.type, "scene") for q in asked.questions]

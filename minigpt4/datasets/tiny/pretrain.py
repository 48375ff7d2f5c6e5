"""The pre-training corpus: pictures of the same kinds from other seeds, and words about them.

It teaches names, colours, numbers, places and boxes. It holds no ``[vqa]`` or ``[detection]``
prompt, no short answer to a question about a picture, and no picture of a test region.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from minigpt4.datasets.tiny.captions import (
    Words,
    arranged_words,
    counted_words,
    part_words,
    shape_words,
)
from minigpt4.datasets.tiny.defects import DEFECTS
from minigpt4.datasets.tiny.directed import (
    about_arranged,
    about_counted,
    about_part,
    about_shape,
)
from minigpt4.datasets.tiny.hands import ONE, Hands
from minigpt4.datasets.tiny.parts import GOOD, make_picture
from minigpt4.datasets.tiny.scenes import (
    Wanted,
    place_objects,
    render,
    render_easy,
    scatter_objects,
)
from minigpt4.datasets.tiny.streams import Stream, rng_for
from minigpt4.datasets.tiny.text_corpus import text_pairs
from minigpt4.datasets.tiny.textures import CLASSES
from minigpt4.datasets.tiny.vivqa import save_picture
from minigpt4.datasets.tiny.vocabulary import (
    COLOURS,
    CROSS_PLACES,
    EASY_COLOURS,
    KINDS,
    OBJECT_KINDS,
    PLACES,
    SCENE_COLOURS,
    SHAPE_KINDS,
)

PICTURES = 12_000
TEXT_PAIRS = 6_000
_MOST_COUNTED = 6

Told = tuple[Image.Image, Words]


def _pick(rng: np.random.Generator, names: tuple[str, ...], count: int) -> list[str]:
    return [names[i] for i in rng.permutation(len(names))[:count]]


def _palette(rng: np.random.Generator) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Mostly the questions' kinds and colours; one scene in five from all there are."""
    if rng.random() < 0.8:
        return OBJECT_KINDS, SCENE_COLOURS
    return tuple(KINDS), tuple(COLOURS)


def _things(rng: np.random.Generator, count: int) -> list[Wanted]:
    """Things whose kinds and colours all differ."""
    kinds, colours = _palette(rng)
    return [
        Wanted(k, c)
        for k, c in zip(_pick(rng, kinds, count), _pick(rng, colours, count), strict=True)
    ]


def _arranged(rng: np.random.Generator) -> Told:
    places = CROSS_PLACES if rng.random() < 0.75 else tuple(PLACES)
    count = int(rng.integers(1, 6))
    wanted = list(zip(_things(rng, count), _pick(rng, places, count), strict=True))
    scene = render(rng, place_objects(rng, wanted))
    words = arranged_words(rng, scene)
    words.directed = about_arranged(rng, scene)
    return scene.image, words


def _counted(rng: np.random.Generator) -> Told:
    if rng.random() < 0.35:
        wanted = _things(rng, int(rng.integers(1, _MOST_COUNTED + 1)))
    else:
        first, second = _things(rng, 2)
        wanted = [first] * int(rng.integers(1, _MOST_COUNTED)) + [second] * int(rng.integers(0, 3))
    scene = render(rng, scatter_objects(rng, wanted))
    words = counted_words(rng, scene)
    words.directed = about_counted(rng, scene)
    return scene.image, words


def _shape(rng: np.random.Generator) -> Told:
    kind = _pick(rng, SHAPE_KINDS, 1)[0]
    scene = render_easy(rng, kind, _pick(rng, tuple(EASY_COLOURS), 1)[0])
    words = shape_words(rng, scene)
    words.directed = about_shape(rng, scene)
    return scene.image, words


def _part(rng: np.random.Generator) -> Told:
    name = _pick(rng, CLASSES, 1)[0]
    defect = GOOD if rng.random() < 0.35 else _pick(rng, tuple(DEFECTS), 1)[0]
    picture = make_picture(rng, name, defect, "train")
    words = part_words(rng, picture)
    words.directed = about_part(picture)
    return picture.image, words


# Shares of the corpus, in twentieths.
_MIX: tuple[Callable[[np.random.Generator], Told], ...] = (
    (_arranged,) * 7 + (_counted,) * 5 + (_part,) * 5 + (_shape,) * 3
)


@dataclass
class _Corpus:
    captions: list[dict[str, object]] = field(default_factory=list)
    grounded: list[dict[str, object]] = field(default_factory=list)
    refer: list[dict[str, object]] = field(default_factory=list)
    directed: list[dict[str, object]] = field(default_factory=list)

    def add(self, image: str, words: Words) -> None:
        self.captions += [{"image": image, "caption": text} for text in words.captions]
        self.grounded += [{"image": image, "grounded_caption": text} for text in words.grounded]
        self.refer += [
            {"image": image, "phrase": phrase, "bbox": box} for phrase, box in words.refer
        ]
        self.directed += [
            {"image": image, "about": about, "caption": text} for about, text in words.directed
        ]


def make_told_picture(seed: int, number: int) -> Told:
    """The ``number``-th picture of the corpus and its words."""
    rng = rng_for(seed, Stream.PRETRAIN_PICTURES, number)
    return _MIX[number * 7 % len(_MIX)](rng)


def _name(number: int) -> str:
    return f"{number:06d}.jpg"


def _write_picture(number: int, *, images: Path, seed: int) -> Words:
    """Make and save a picture; its words."""
    image, words = make_told_picture(seed, number)
    save_picture(image, images / _name(number))
    return words


def write_pretrain(folder: Path, *, seed: int, scale: float, hands: Hands = ONE) -> dict[str, int]:
    """Write ``images/*.jpg`` and the five JSON lists.

    Args:
        folder: An existing empty folder; ``image`` values are relative to its ``images``.
        seed: Seed of everything.
        scale: Shrinks the number of pictures and texts.
        hands: Who makes the pictures.

    Returns:
        Entries by file, for the manifest.
    """
    images = folder / "images"
    images.mkdir()
    corpus = _Corpus()
    count = max(len(_MIX), round(PICTURES * scale))
    write = partial(_write_picture, images=images, seed=seed)
    told = hands.map(write, range(count), desc="pre-training pictures")
    for number, words in enumerate(told):
        corpus.add(_name(number), words)
    pairs = text_pairs(
        rng_for(seed, Stream.PRETRAIN_TEXT, 0), limit=max(100, round(TEXT_PAIRS * scale))
    )
    lists: dict[str, list[dict[str, object]]] = {
        "captions": corpus.captions,
        "grounded": corpus.grounded,
        "refer": corpus.refer,
        "directed": corpus.directed,
        "text": [{"instruction": ask, "output": said} for ask, said in pairs],
    }
    for name, entries in lists.items():
        text = json.dumps(entries, ensure_ascii=False)
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return {"pictures": count, **{name: len(entries) for name, entries in lists.items()}}

"""Puts what is known about a picture into words, in Vietnamese and English.

Whole sentences, sentences with boxes, and phrases of one thing; never the short answers or the
prompts of the two tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from minigpt4.common.boxes import format_boxes
from minigpt4.datasets.tiny.parts import GOOD, PartPicture
from minigpt4.datasets.tiny.scenes import Scene, SceneObject, percent_box
from minigpt4.datasets.tiny.vocabulary import (
    BLEMISHES,
    COLOURS,
    KINDS,
    MATERIALS,
    NUMBERS_EN,
    NUMBERS_VI,
    PLACES,
    place_of,
)


@dataclass
class Words:
    """What is said about one picture.

    Attributes:
        captions: Sentences.
        grounded: Sentences with ``<p>phrase</p> {<x1><y1><x2><y2>}`` in them.
        refer: Phrases that fit one thing only, with its box in integers 0-100.
        directed: What a sentence is to speak of, and the sentence; see ``directed``.
    """

    captions: list[str] = field(default_factory=list)
    grounded: list[str] = field(default_factory=list)
    refer: list[tuple[str, list[int]]] = field(default_factory=list)
    directed: list[tuple[str, str]] = field(default_factory=list)


def marked(phrase: str, boxes: Sequence[Sequence[int]]) -> str:
    """A phrase followed by its boxes."""
    return f"<p>{phrase}</p> {format_boxes(boxes)}"


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def name_vi(thing: SceneObject, *, coloured: bool = True) -> str:
    """``ngôi nhà màu đỏ`` or ``ngôi nhà``."""
    kind = KINDS[thing.kind].vi
    return f"{kind} {COLOURS[thing.colour].vi}" if coloured else kind


def name_en(thing: SceneObject, *, coloured: bool = True) -> str:
    """``red house`` or ``house``."""
    kind = KINDS[thing.kind].en
    return f"{COLOURS[thing.colour].en} {kind}" if coloured else kind


def counted_vi(count: int, thing: SceneObject) -> str:
    """``ba quả bóng màu đỏ``."""
    return f"{NUMBERS_VI[count]} {name_vi(thing)}"


def counted_en(count: int, thing: SceneObject) -> str:
    """``three red balls``."""
    kind = KINDS[thing.kind]
    noun = kind.en if count == 1 else kind.en_plural
    return f"{NUMBERS_EN[count]} {COLOURS[thing.colour].en} {noun}"


def _joined(parts: Sequence[str], last: str) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {last} {parts[-1]}"


def _choose(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _inventory(rng: np.random.Generator, vi: Sequence[str], en: Sequence[str]) -> list[str]:
    """The same list of things as a sentence in either language."""
    start_vi = _choose(rng, ("trong ảnh có", "ảnh này có", "bức ảnh cho thấy", "có"))
    start_en = _choose(rng, ("the picture shows", "a picture of", "this image shows"))
    return [f"{start_vi} {_joined(vi, 'và')}", f"{start_en} {_joined(en, 'and')}"]


def arranged_words(rng: np.random.Generator, scene: Scene) -> Words:
    """Words for different things at named places."""
    words = Words()
    things = [scene.objects[i] for i in rng.permutation(len(scene.objects))]
    words.captions += _inventory(
        rng, ["một " + name_vi(t) for t in things], [_article(name_en(t)) for t in things]
    )
    coloured = bool(rng.integers(2))
    clauses_vi = [f"{name_vi(t, coloured=coloured)} {_at_vi(t)}" for t in things]
    clauses_en = [f"the {name_en(t, coloured=coloured)} is {_at_en(t)}" for t in things]
    words.captions += [", ".join(clauses_vi), ", ".join(clauses_en)]
    # One thing at a time: short sentences that tie a name, a colour or a place to what is seen.
    for thing in things[:2]:
        words.captions += _about_one(rng, thing)
    words.grounded += [
        ", ".join(
            f"{marked('một ' + name_vi(t), [percent_box(t.box)])} {_at_vi(t)}" for t in things
        ),
        ", ".join(
            f"{marked(_article(name_en(t)), [percent_box(t.box)])} {_at_en(t)}" for t in things
        ),
    ]
    one = things[0]
    words.grounded.append(
        f"{_at_vi(one)} có {marked('một ' + name_vi(one), [percent_box(one.box)])}"
        if rng.integers(2)
        else f"{_at_en(one)} there is {marked(_article(name_en(one)), [percent_box(one.box)])}"
    )
    for thing in things:
        words.refer.append((_phrase(rng, thing), percent_box(thing.box)))
    return words


def _at_vi(thing: SceneObject) -> str:
    return PLACES[thing.place].vi_at if thing.place else ""


def _at_en(thing: SceneObject) -> str:
    return PLACES[thing.place].en_at if thing.place else ""


def _about_one(rng: np.random.Generator, thing: SceneObject) -> list[str]:
    place_vi, place_en = _at_vi(thing), _at_en(thing)
    colour_vi, colour_en = COLOURS[thing.colour].vi, COLOURS[thing.colour].en
    plain_vi, plain_en = name_vi(thing, coloured=False), name_en(thing, coloured=False)
    vi = (
        f"{plain_vi} nằm {place_vi}",
        f"{place_vi} có một {plain_vi}",
        f"{plain_vi} trong ảnh có {colour_vi}",
        f"vật {place_vi} có {colour_vi}",
        f"vật {colour_vi} trong ảnh là một {plain_vi}",
        f"{plain_vi} {colour_vi} nằm {place_vi}",
    )
    en = (
        f"the {plain_en} is {place_en}",
        f"{place_en} there is {_article(plain_en)}",
        f"the {plain_en} in the picture is {colour_en}",
        f"the thing {place_en} is {colour_en}",
        f"the {colour_en} thing is {_article(plain_en)}",
        f"the {colour_en} {plain_en} is {place_en}",
    )
    return [_choose(rng, vi), _choose(rng, en)]


def _phrase(rng: np.random.Generator, thing: SceneObject) -> str:
    """A phrase that fits this thing only, where kinds, colours and places all differ."""
    colour = COLOURS[thing.colour]
    options = [
        name_vi(thing, coloured=False),
        name_vi(thing),
        f"vật {colour.vi}",
        "the " + name_en(thing, coloured=False),
        "the " + name_en(thing),
        f"the {colour.en} thing",
    ]
    if thing.place:
        options += [f"vật {_at_vi(thing)}"] * 2 + [f"the thing {_at_en(thing)}"]
    return _choose(rng, options)


_TOTALS = ("trong ảnh có tất cả {} vật", "ảnh này có {} vật", "có tất cả {} vật")
_COUNTS = ("trong ảnh có {} {}", "ảnh này có {} {}", "có tất cả {} {} trong ảnh")


def counted_words(rng: np.random.Generator, scene: Scene) -> Words:
    """Words for several things, some of them alike."""
    groups: dict[tuple[str, str], list[SceneObject]] = {}
    for thing in scene.objects:
        groups.setdefault((thing.kind, thing.colour), []).append(thing)
    piles = list(groups.values())
    total = len(scene.objects)
    words = Words()
    words.captions += _inventory(
        rng,
        [counted_vi(len(pile), pile[0]) for pile in piles],
        [counted_en(len(pile), pile[0]) for pile in piles],
    )
    noun = "thing" if total == 1 else "things"
    words.captions += [
        _choose(rng, _TOTALS).format(NUMBERS_VI[total]),
        f"{NUMBERS_EN[total]} {noun} in the picture",
    ]
    for pile in piles:
        kind, number = KINDS[pile[0].kind], len(pile)
        plural = kind.en if number == 1 else kind.en_plural
        words.captions += [
            _choose(rng, _COUNTS).format(NUMBERS_VI[number], kind.vi),
            f"{NUMBERS_EN[number]} {plural} in the picture",
        ]
    boxes = [[percent_box(t.box) for t in _reading_order(pile)] for pile in piles]
    words.grounded += [
        _joined(
            [marked(counted_vi(len(p), p[0]), b) for p, b in zip(piles, boxes, strict=True)], "và"
        ),
        _joined(
            [marked(counted_en(len(p), p[0]), b) for p, b in zip(piles, boxes, strict=True)], "and"
        ),
    ]
    kinds = [pile[0].kind for pile in piles]
    colours = [pile[0].colour for pile in piles]
    if len(set(kinds)) == len(kinds) and len(set(colours)) == len(colours):
        for pile in piles:
            if len(pile) == 1:
                words.refer.append((_phrase(rng, pile[0]), percent_box(pile[0].box)))
    return words


def _reading_order(pile: Sequence[SceneObject]) -> list[SceneObject]:
    return sorted(pile, key=lambda t: (round(t.box[1] * 4), t.box[0]))


def _clear_place(box: Sequence[float]) -> str | None:
    """The place of a box's centre (shares of the side), or None where two would do."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    near = min(abs(v - edge) for v in (x, y) for edge in (1 / 3, 2 / 3))
    return place_of(x, y) if near > 0.04 else None


def shape_words(rng: np.random.Generator, scene: Scene) -> Words:
    """Words for a single flat shape."""
    (thing,) = scene.objects
    colour, box = COLOURS[thing.colour], percent_box(thing.box)
    words = Words()
    words.captions += _inventory(rng, ["một " + name_vi(thing)], [_article(name_en(thing))])
    plain_vi, plain_en = name_vi(thing, coloured=False), name_en(thing, coloured=False)
    words.captions += [
        _choose(
            rng,
            (
                f"{plain_vi} này có {colour.vi}",
                f"hình trong ảnh là một {plain_vi}",
                f"hình trong ảnh có {colour.vi}",
                f"hình {colour.vi} này là một {plain_vi}",
            ),
        ),
        _choose(
            rng,
            (
                f"the {plain_en} is {colour.en}",
                f"the shape is {_article(plain_en)}",
                f"the shape is {colour.en}",
                f"the {colour.en} shape is {_article(plain_en)}",
            ),
        ),
    ]
    words.grounded.append(
        marked("một " + name_vi(thing), [box])
        if rng.integers(2)
        else marked(_article(name_en(thing)), [box])
    )
    place = _clear_place(thing.box)
    if place is not None:
        words.captions.append(
            f"một {name_vi(thing)} {PLACES[place].vi_at}"
            if rng.integers(2)
            else f"{_article(name_en(thing))} {PLACES[place].en_at}"
        )
    words.refer.append((_choose(rng, (plain_vi, name_vi(thing), f"hình {colour.vi}")), box))
    words.refer.append(
        (_choose(rng, (f"the {plain_en}", f"the {name_en(thing)}", f"the {colour.en} shape")), box)
    )
    return words


def part_words(rng: np.random.Generator, picture: PartPicture) -> Words:
    """Words for a part with or without a blemish."""
    return _clean(rng, picture) if picture.defect == GOOD else _damaged(rng, picture)


def _clean(rng: np.random.Generator, picture: PartPicture) -> Words:
    material, whole = MATERIALS[picture.name], [picture.part_box]
    vi = (
        f"một {material.vi} sạch",
        f"{material.vi} này còn nguyên vẹn",
        f"một {material.vi} không có vết hỏng nào",
    )
    en = (
        f"a clean {material.en}",
        f"{material.en_article} without any damage",
        f"this {material.en} is intact",
    )
    return Words(
        captions=[_choose(rng, vi), _choose(rng, en)],
        grounded=[
            marked(f"một {material.vi} sạch", whole)
            if rng.integers(2)
            else marked(f"a clean {material.en}", whole)
        ],
        refer=[(_choose(rng, (material.vi, f"the {material.en}")), picture.part_box)],
    )


def _damaged(rng: np.random.Generator, picture: PartPicture) -> Words:
    material, blemish, box = MATERIALS[picture.name], BLEMISHES[picture.defect], picture.box
    place = _clear_place([v / 100 for v in box])
    at_vi = f" {PLACES[place].vi_at}" if place else ""
    at_en = f" {PLACES[place].en_at}" if place else ""
    return Words(
        captions=[
            f"một {material.vi} có {blemish.vi}{at_vi}",
            f"{material.en_article} with {blemish.en_article}{at_en}",
            _choose(
                rng,
                (
                    f"{blemish.vi} nằm{at_vi or ' trong ảnh'}",
                    f"{material.vi} này bị hỏng{at_vi}",
                    f"trên {material.vi} có một {blemish.vi}",
                ),
            ),
            _choose(
                rng,
                (
                    f"there is {blemish.en_article}{at_en}",
                    f"this {material.en} is damaged{at_en}",
                    f"{blemish.en_article} on {material.en_article}",
                ),
            ),
        ],
        grounded=[
            f"một {material.vi} có {marked(blemish.vi, [box])}{at_vi}",
            f"{material.en_article} with {marked(blemish.en_article, [box])}{at_en}",
        ],
        refer=[
            (_choose(rng, (blemish.vi, "chỗ hỏng", "chỗ bị hỏng")), box),
            (_choose(rng, (f"the {blemish.en}", "the damage", "the damaged area")), box),
        ],
    )

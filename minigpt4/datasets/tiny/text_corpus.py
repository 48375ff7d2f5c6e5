"""Text without pictures for pre-training: words, translations, numbers, facts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from minigpt4.datasets.tiny.vocabulary import (
    BLEMISHES,
    COLOURS,
    KINDS,
    MATERIALS,
    NUMBERS_EN,
    NUMBERS_VI,
    PLACES,
)

Pair = tuple[str, str]

_TO_EN = ("dịch sang tiếng anh: {}", "translate to english: {}", "{} trong tiếng anh là")
_TO_VI = ("dịch sang tiếng việt: {}", "translate to vietnamese: {}", "say in vietnamese: {}")

_FACTS_VI: dict[str, str] = {
    "circle": "hình tròn không có góc nào",
    "rectangle": "hình chữ nhật có bốn góc và bốn cạnh",
    "triangle": "hình tam giác có ba góc và ba cạnh",
    "ball": "quả bóng là một đồ chơi tròn, lăn được",
    "house": "ngôi nhà có mái, có cửa, là nơi người ta ở",
    "tree": "cái cây có thân, có cành và có lá",
    "car": "chiếc xe có bánh và chạy trên đường",
    "star": "ngôi sao có năm cánh và sáng trên trời",
    "fish": "con cá có vây, có đuôi và sống dưới nước",
    "flower": "bông hoa có cánh và mọc trên cành",
    "cup": "cái cốc có quai và dùng để uống nước",
}
_FACTS_EN: dict[str, str] = {
    "circle": "a circle has no corners",
    "rectangle": "a rectangle has four corners and four sides",
    "triangle": "a triangle has three corners and three sides",
    "ball": "a ball is a round toy that rolls",
    "house": "a house has a roof and a door, and people live in it",
    "tree": "a tree has a trunk, branches and leaves",
    "car": "a car has wheels and runs on the road",
    "star": "a star has five points and shines in the sky",
    "fish": "a fish has fins and a tail and lives in water",
    "flower": "a flower has petals and grows on a stem",
    "cup": "a cup has a handle and is used for drinking",
}
_MATERIAL_FACTS: dict[str, Pair] = {
    "brick": ("mặt gạch được xây bằng nhiều viên gạch", "a brick surface is laid with many bricks"),
    "grass": ("mặt cỏ mọc đầy cỏ xanh", "a grass surface is covered with green grass"),
    "gravel": ("mặt sỏi gồm nhiều viên đá nhỏ", "a gravel surface is made of many small stones"),
    "wood": ("mặt gỗ có nhiều vân gỗ", "a wooden surface shows the grain of the wood"),
    "page": ("trang giấy có in nhiều chữ", "a printed page carries many words"),
    "coin": ("đồng xu tròn và làm bằng kim loại", "a coin is round and made of metal"),
}
_BLEMISH_FACTS: dict[str, Pair] = {
    "scratch": ("vết xước dài và mảnh", "a scratch is long and thin"),
    "hole": ("lỗ thủng tối và sâu", "a hole is dark and deep"),
    "stain": ("vết bẩn làm đổi màu bề mặt", "a stain changes the colour of a surface"),
    "cut": ("vết cắt thẳng và há miệng ở giữa", "a cut is straight and gapes in the middle"),
    "missing": ("chỗ bị mất là nơi một mảnh đã rơi ra", "a missing piece has broken away"),
}
_OPPOSITES = (
    ("left", "right"),
    ("top", "bottom"),
    ("top_left", "bottom_right"),
    ("top_right", "bottom_left"),
)
_MIXES = (("red", "yellow", "orange"), ("blue", "yellow", "green"), ("red", "blue", "purple"))


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _words() -> Iterator[Pair]:
    """Vietnamese and English of every name."""
    for kind in KINDS.values():
        yield kind.vi, kind.en
    for colour in COLOURS.values():
        yield colour.vi, colour.en
    for place in PLACES.values():
        yield place.vi_at, place.en_at
    for noun in (*MATERIALS.values(), *BLEMISHES.values()):
        yield noun.vi, noun.en
    yield from zip(NUMBERS_VI, NUMBERS_EN, strict=True)


def _sentences() -> Iterator[Pair]:
    """Vietnamese and English of short phrases and sentences, every combination once."""
    for kind in KINDS.values():
        for colour in COLOURS.values():
            yield f"một {kind.vi} {colour.vi}", _article(f"{colour.en} {kind.en}")
            yield f"{kind.vi} này có {colour.vi}", f"this {kind.en} is {colour.en}"
        for place in PLACES.values():
            yield f"{kind.vi} nằm {place.vi_at}", f"the {kind.en} is {place.en_at}"
            yield f"{place.vi_at} có một {kind.vi}", f"{place.en_at} there is {_article(kind.en)}"
        for number in range(1, 8):
            noun = kind.en if number == 1 else kind.en_plural
            yield f"{NUMBERS_VI[number]} {kind.vi}", f"{NUMBERS_EN[number]} {noun}"
            yield (
                f"trong ảnh có {NUMBERS_VI[number]} {kind.vi}",
                f"{NUMBERS_EN[number]} {noun} in the picture",
            )
    for material in MATERIALS.values():
        yield f"một {material.vi} sạch", f"a clean {material.en}"
        for blemish in BLEMISHES.values():
            yield (
                f"một {material.vi} có {blemish.vi}",
                f"{material.en_article} with {blemish.en_article}",
            )
            for place in PLACES.values():
                yield (
                    f"{blemish.vi} trên {material.vi} {place.vi_at}",
                    f"{blemish.en_article} on {material.en_article} {place.en_at}",
                )


def _paraphrases() -> Iterator[Pair]:
    for kind in KINDS.values():
        for number in range(1, 6):
            said = f"{NUMBERS_VI[number]} {kind.vi}"
            yield f"nói cách khác: trong ảnh có {said}", f"bức ảnh cho thấy {said}"
            noun = kind.en if number == 1 else kind.en_plural
            said = f"{NUMBERS_EN[number]} {noun}"
            yield f"say it differently: {said} in the picture", f"the picture shows {said}"
        for place in PLACES.values():
            yield f"nói cách khác: {kind.vi} nằm {place.vi_at}", f"{place.vi_at} có một {kind.vi}"
            yield (
                f"say it differently: the {kind.en} is {place.en_at}",
                f"{place.en_at} there is {_article(kind.en)}",
            )


def _numbers() -> Iterator[Pair]:
    for value, (vi, en) in enumerate(zip(NUMBERS_VI, NUMBERS_EN, strict=True)):
        yield f"viết số {value} bằng chữ", vi
        yield f"write {value} as a word", en
        yield f"viết {vi} bằng chữ số", str(value)
        yield f"write {en} as a digit", str(value)
        if value + 1 < len(NUMBERS_VI):
            yield f"số đứng ngay sau {vi}", NUMBERS_VI[value + 1]
            yield f"the number after {en}", NUMBERS_EN[value + 1]
            yield f"số đứng ngay trước {NUMBERS_VI[value + 1]}", vi
        for other in range(len(NUMBERS_VI) - value):
            yield f"{vi} cộng {NUMBERS_VI[other]} bằng", NUMBERS_VI[value + other]
            yield f"{en} plus {NUMBERS_EN[other]} makes", NUMBERS_EN[value + other]
        if value:
            yield f"đếm đến {vi}", ", ".join(NUMBERS_VI[1 : value + 1])
            yield f"count to {en}", ", ".join(NUMBERS_EN[1 : value + 1])


def _facts() -> Iterator[Pair]:
    for name, kind in KINDS.items():
        yield f"nói về {kind.vi}", _FACTS_VI[name]
        yield f"tell me about {_article(kind.en)}", _FACTS_EN[name]
    for names, facts in ((MATERIALS, _MATERIAL_FACTS), (BLEMISHES, _BLEMISH_FACTS)):
        for name, noun in names.items():
            yield f"nói về {noun.vi}", facts[name][0]
            yield f"tell me about {noun.en_article}", facts[name][1]
    for one, other in _OPPOSITES:
        for a, b in ((one, other), (other, one)):
            yield f"ngược với {PLACES[a].vi}", PLACES[b].vi
            yield f"the opposite of {PLACES[a].en}", PLACES[b].en
    for first, second, mixed in _MIXES:
        for a, b in ((first, second), (second, first)):
            yield f"trộn {COLOURS[a].vi} với {COLOURS[b].vi}", f"được {COLOURS[mixed].vi}"
            yield f"mix {COLOURS[a].en} with {COLOURS[b].en}", f"you get {COLOURS[mixed].en}"


def text_pairs(rng: np.random.Generator, *, limit: int) -> list[Pair]:
    """Instructions and outputs about words, numbers and things, without pictures.

    Args:
        rng: Source of chance (order, and which wording asks for a translation).
        limit: At most how many.

    Returns:
        Different pairs in random order.
    """
    pairs = [*_paraphrases(), *_numbers(), *_facts()]
    for vi, en in (*_words(), *_sentences()):
        pairs.append((_TO_EN[rng.integers(len(_TO_EN))].format(vi), en))
        pairs.append((_TO_VI[rng.integers(len(_TO_VI))].format(en), vi))
    unique = list(dict.fromkeys(pairs))
    return [unique[i] for i in rng.permutation(len(unique))[:limit]]

"""Questions on rendered scenes: how many, where, what colour, which thing.

Each answer is drawn first and the scene is built around it, so that for any one question text
all answers are equally common.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from minigpt4.datasets.tiny.easy_vqa_vi import COLOUR, NUMBER, OBJECT, PLACE
from minigpt4.datasets.tiny.scenes import Scene, Wanted, place_objects, render, scatter_objects
from minigpt4.datasets.tiny.vocabulary import (
    COLOURS,
    CROSS_PLACES,
    KINDS,
    NUMBERS_VI,
    OBJECT_KINDS,
    PLACES,
    SCENE_COLOURS,
)

MAX_COUNT = 5


@dataclass(frozen=True)
class SceneQuestion:
    """A question about a scene: text, answer and ViVQA type."""

    text: str
    answer: str
    type: int


@dataclass(frozen=True)
class AskedScene:
    """A scene with its questions."""

    scene: Scene
    questions: tuple[SceneQuestion, ...]


def _pick(rng: np.random.Generator, names: Sequence[str], count: int) -> list[str]:
    return [names[i] for i in rng.permutation(len(names))[:count]]


def _others(names: Sequence[str], used: str) -> list[str]:
    return [name for name in names if name != used]


def count_of_kind(rng: np.random.Generator, cell: int) -> AskedScene:
    """One to five alike among up to two others; asks how many they are, and their colour."""
    kinds, colours = len(OBJECT_KINDS), len(SCENE_COLOURS)
    count = 1 + cell % MAX_COUNT
    kind = OBJECT_KINDS[cell // MAX_COUNT % kinds]
    colour = SCENE_COLOURS[(cell // (MAX_COUNT * kinds) + cell) % colours]
    other = Wanted(
        _pick(rng, _others(OBJECT_KINDS, kind), 1)[0],
        _pick(rng, _others(SCENE_COLOURS, colour), 1)[0],
    )
    wanted = [Wanted(kind, colour)] * count + [other] * int(rng.integers(0, 3))
    scene = render(rng, scatter_objects(rng, wanted))
    name = KINDS[kind].vi
    ask_count = ("có bao nhiêu {} trong ảnh", "trong ảnh có bao nhiêu {}")[rng.integers(2)]
    ask_colour = ("màu của {} là gì", "màu sắc của {} là gì")[rng.integers(2)]
    return AskedScene(
        scene,
        (
            SceneQuestion(ask_count.format(name), NUMBERS_VI[count], NUMBER),
            SceneQuestion(ask_colour.format(name), COLOURS[colour].vi, COLOUR),
        ),
    )


def count_of_all(rng: np.random.Generator, cell: int) -> AskedScene:
    """One to five different things; asks how many in all."""
    count = 1 + cell % MAX_COUNT
    kinds = _pick(rng, OBJECT_KINDS, count)
    colours = _pick(rng, SCENE_COLOURS, count)
    wanted = [Wanted(k, c) for k, c in zip(kinds, colours, strict=True)]
    scene = render(rng, scatter_objects(rng, wanted))
    return AskedScene(
        scene, (SceneQuestion("có bao nhiêu vật trong ảnh", NUMBERS_VI[count], NUMBER),)
    )


def _arranged(
    rng: np.random.Generator, kind: str, place: str
) -> tuple[Scene, list[Wanted], list[str]]:
    """One or two different things at different places, the first one given.

    With more of them the small model answers about any one (see docs/quickstart.md).
    """
    count = int(rng.integers(1, 3))
    kinds = [kind, *_pick(rng, _others(OBJECT_KINDS, kind), count - 1)]
    places = [place, *_pick(rng, _others(CROSS_PLACES, place), count - 1)]
    wanted = [Wanted(k, c) for k, c in zip(kinds, _pick(rng, SCENE_COLOURS, count), strict=True)]
    objects = place_objects(rng, list(zip(wanted, places, strict=True)))
    return render(rng, objects), wanted, places


def where_is(rng: np.random.Generator, cell: int) -> AskedScene:
    """Things at named places; asks where one is, and the colour of the last."""
    place = CROSS_PLACES[cell % len(CROSS_PLACES)]
    kind = OBJECT_KINDS[cell // len(CROSS_PLACES) % len(OBJECT_KINDS)]
    scene, wanted, _ = _arranged(rng, kind, place)
    ask_place = ("{} ở đâu", "{} nằm ở đâu")[rng.integers(2)]
    other = wanted[-1]
    return AskedScene(
        scene,
        (
            SceneQuestion(ask_place.format(KINDS[kind].vi), PLACES[place].vi, PLACE),
            SceneQuestion(
                f"màu của {KINDS[other.kind].vi} là gì", COLOURS[other.colour].vi, COLOUR
            ),
        ),
    )


def what_is_there(rng: np.random.Generator, cell: int) -> AskedScene:
    """Things at named places; asks what is at one place, and where the last is."""
    kind = OBJECT_KINDS[cell % len(OBJECT_KINDS)]
    place = CROSS_PLACES[cell // len(OBJECT_KINDS) % len(CROSS_PLACES)]
    scene, wanted, places = _arranged(rng, kind, place)
    return AskedScene(
        scene,
        (
            SceneQuestion(f"vật gì {PLACES[place].vi_at}", KINDS[kind].vi, OBJECT),
            SceneQuestion(f"{KINDS[wanted[-1].kind].vi} ở đâu", PLACES[places[-1]].vi, PLACE),
        ),
    )


_MAKERS: tuple[Callable[[np.random.Generator, int], AskedScene], ...] = (
    count_of_kind,
    count_of_all,
    where_is,
    what_is_there,
)


def asked_scene(rng: np.random.Generator, number: int) -> AskedScene:
    """Make the ``number``-th scene of a split; the four sorts of scene take turns."""
    return _MAKERS[number % len(_MAKERS)](rng, number // len(_MAKERS))

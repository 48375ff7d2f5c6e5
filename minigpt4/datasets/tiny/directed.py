"""Sentences about one thing that is asked for: the captions that a query chooses.

A plain caption leaves it to the writer what to speak of; here a kind, a colour, a place or a number
is named and the sentence has to find it. All answers are whole sentences.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minigpt4.datasets.tiny.parts import GOOD, PartPicture
from minigpt4.datasets.tiny.scenes import Scene, SceneObject
from minigpt4.datasets.tiny.vocabulary import (
    BLEMISHES,
    COLOURS,
    EASY_COLOURS,
    KINDS,
    MATERIALS,
    NUMBERS_VI,
    OBJECT_KINDS,
    PLACES,
    SCENE_COLOURS,
    SHAPE_KINDS,
)

Directed = list[tuple[str, str]]
"""What to speak of, and the sentence."""


def about_arranged(rng: np.random.Generator, scene: Scene) -> Directed:
    """Each thing by two of its kind, its colour and its place; and something that is not there."""
    found: Directed = []
    for thing in scene.objects:
        options = _about_thing(thing)
        found += [options[i] for i in rng.permutation(len(options))[:2]]
    found.append(_absent(rng, scene.objects, OBJECT_KINDS, SCENE_COLOURS, "vật"))
    return found


def about_counted(rng: np.random.Generator, scene: Scene) -> Directed:
    """How many of each kind, and of all."""
    total = len(scene.objects)
    found: Directed = [("số vật", f"trong ảnh có tất cả {NUMBERS_VI[total]} vật")]
    for kind in dict.fromkeys(thing.kind for thing in scene.objects):
        count = sum(thing.kind == kind for thing in scene.objects)
        name = KINDS[kind].vi
        found.append((f"số {name}", f"trong ảnh có {NUMBERS_VI[count]} {name}"))
    if rng.random() < 0.3:
        found.append(_absent(rng, scene.objects, OBJECT_KINDS, SCENE_COLOURS, "vật"))
    return found


def about_shape(rng: np.random.Generator, scene: Scene) -> Directed:
    """The single shape by its parts, one that is there and one that is not."""
    (thing,) = scene.objects
    kind, colour = KINDS[thing.kind].vi, COLOURS[thing.colour].vi
    present = (kind, f"hình {colour}")[int(rng.integers(2))]
    return [
        ("màu của hình", f"hình này có {colour}"),
        ("tên của hình", f"đây là một {kind} {colour}"),
        (present, f"trong ảnh có {present}"),
        _absent(rng, scene.objects, SHAPE_KINDS, tuple(EASY_COLOURS), "hình"),
    ]


def about_part(picture: PartPicture) -> Directed:
    """What state the part is in."""
    material = MATERIALS[picture.name].vi
    if picture.defect == GOOD:
        return [("tình trạng", f"{material} này còn nguyên vẹn")]
    return [("tình trạng", f"{material} này có một {BLEMISHES[picture.defect].vi}")]


def _about_thing(thing: SceneObject) -> Directed:
    kind, colour = KINDS[thing.kind].vi, COLOURS[thing.colour].vi
    place = PLACES[thing.place].vi_at if thing.place else "trong ảnh"
    return [
        (f"chỗ của {kind}", f"{kind} nằm {place}"),
        (f"màu của {kind}", f"{kind} này có {colour}"),
        (f"vật {colour}", f"vật {colour} là một {kind} {place}"),
        (f"vật {place}", f"vật {place} là một {kind} {colour}"),
    ]


def _absent(
    rng: np.random.Generator,
    things: Sequence[SceneObject],
    kinds: Sequence[str],
    colours: Sequence[str],
    noun: str,
) -> tuple[str, str]:
    """A kind or a colour that the picture does not hold."""
    if rng.integers(2):
        rest = [name for name in kinds if all(thing.kind != name for thing in things)]
        name = KINDS[rest[int(rng.integers(len(rest)))]].vi
    else:
        rest = [name for name in colours if all(thing.colour != name for thing in things)]
        name = f"{noun} {COLOURS[rest[int(rng.integers(len(rest)))]].vi}"
    return name, f"trong ảnh không có {name}"

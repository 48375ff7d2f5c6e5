"""Independent sources of chance: one number series for each purpose and picture.

A picture depends on the seed, its purpose and its number only, never on what was made before it,
so that sizes can change without changing the pictures, and no two purposes share a picture.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

import numpy as np

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")


class Stream(IntEnum):
    """What a number series is for."""

    ORDER = 0
    EASY_CHOICE = 1
    SCENES_TRAIN = 2
    SCENES_TEST = 3
    PARTS_TRAIN = 4
    PARTS_TEST = 5
    PRETRAIN_PICTURES = 6
    PRETRAIN_TEXT = 7


def rng_for(seed: int, stream: Stream, number: int) -> np.random.Generator:
    """The number series of one picture.

    Args:
        seed: The data set's seed.
        stream: What it is for.
        number: Which picture of that purpose.

    Returns:
        A fresh generator.
    """
    return np.random.default_rng([seed, int(stream), number])

"""Splits that a seed decides, stratified, with pictures of one object kept together."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

_NUMBER = re.compile(r"\d+")
_THUMB = 32
_BLUR = 3.0
_SIZE_TOLERANCE = 1.25


def split_groups(
    strata: Sequence[Hashable], groups: Sequence[int], *, share: float, seed: int
) -> list[bool]:
    """Choose whole groups for validation so that each stratum gives about its share.

    Args:
        strata: Class and defect of each picture.
        groups: Group of each picture; it may hold several strata.
        share: Share of validation, 0 to 1.
        seed: Decides the order in which groups are considered.

    Returns:
        Whether each picture is for validation. A stratum of two or more groups is on both sides,
        unless ``share`` is 0 or 1.
    """
    if share in (0, 1):
        return [share == 1] * len(strata)
    holds: dict[int, Counter[Hashable]] = defaultdict(Counter)
    for stratum, group in zip(strata, groups, strict=True):
        holds[group][stratum] += 1
    wanted = {stratum: share * count for stratum, count in Counter(strata).items()}
    given: Counter[Hashable] = Counter()
    names = list(holds)
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    chosen: set[int] = set()
    for group in order:
        # Squared distances from the wanted counts, before and after.
        change = sum(
            (n * n + 2 * n * (given[stratum] - wanted[stratum])) / wanted[stratum]
            for stratum, n in holds[group].items()
        )
        if change < 0:
            chosen.add(group)
            given.update(holds[group])
    for stratum in wanted:
        having = [group for group in order if stratum in holds[group]]
        smallest = min(having, key=lambda group: holds[group].total())
        if len(having) > 1 and not chosen.intersection(having):
            chosen.add(smallest)
        elif len(having) > 1 and chosen.issuperset(having):
            chosen.remove(smallest)
    return [group in chosen for group in groups]


def group_pictures(
    paths: Sequence[Path], *, number_gap: int = 0, similarity: float = 0.0
) -> list[int]:
    """Put pictures that show the same object into one group.

    Photographs of one part under several exposures are near-copies; with one of them in training,
    another in validation measures memory. Two links are used, each only where asked for.

    Args:
        paths: Pictures.
        number_gap: Pictures whose file names end in numbers at most so far apart belong together
            (numbers that a camera gave in one sitting); 0 for not at all.
        similarity: Pictures of about the same size whose fine structure correlates above this
            belong together; 0 for not at all.

    Returns:
        Group of each picture, the number of its first member.
    """
    parents = list(range(len(paths)))

    def find(i: int) -> int:
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    def link(i: int, j: int) -> None:
        low, high = sorted((find(i), find(j)))
        parents[high] = low

    if number_gap:
        numbered = sorted(
            (int(found[-1]), i) for i, p in enumerate(paths) if (found := _NUMBER.findall(p.stem))
        )
        for (a, i), (b, j) in pairwise(numbered):
            if b - a <= number_gap:
                link(i, j)
    if similarity:
        for i, j in _similar(paths, similarity):
            link(i, j)
    return [find(i) for i in range(len(paths))]


def _similar(paths: Sequence[Path], threshold: float) -> list[tuple[int, int]]:
    thumbs, sizes = zip(*(_fine_structure(path) for path in paths), strict=True)
    structure, log_size = np.stack(thumbs), np.log(np.array(sizes, dtype=np.float64))
    pairs = []
    for i in range(len(paths)):
        alike = structure[i + 1 :] @ structure[i] > threshold
        near = np.abs(log_size[i + 1 :] - log_size[i]).max(axis=1, initial=0.0)
        pairs += [
            (i, i + 1 + int(j)) for j in np.flatnonzero(alike & (near < np.log(_SIZE_TOLERANCE)))
        ]
    return pairs


def _fine_structure(path: Path) -> tuple[np.ndarray, tuple[int, int]]:
    """Unit vector of a small grey copy without its broad light and shade, and the size."""
    from scipy.ndimage import gaussian_filter

    with Image.open(path) as image:
        size = image.size
        small = image.convert("L").resize((_THUMB, _THUMB), Image.Resampling.BOX)
    values = np.asarray(small, dtype=np.float32)
    fine = (values - gaussian_filter(values, _BLUR)).ravel()
    fine = fine - fine.mean()
    return fine / max(float(np.linalg.norm(fine)), 1e-6), size

"""Picture files, each read once, in as many processes as the machine has cores."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from minigpt4.common.errors import DataError
from minigpt4.common.logger import progress
from minigpt4.processors.image import load_image

_FEW = 200
"""So many pictures are read faster than processes start."""
_CHUNK = 32
_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class Probe:
    """What a picture file holds.

    Attributes:
        digest: Hash of its bytes; empty where it cannot be read.
        size: Width and height in pixels; None where it was not decoded.
        turned: Whether it is meant to be shown turned or mirrored (EXIF), which is not applied.
        mistake: Why it cannot be decoded; empty where it can.
    """

    digest: str = ""
    size: tuple[int, int] | None = None
    turned: bool = False
    mistake: str = ""


def probe(path: str, *, decode: bool = True) -> Probe:
    """Read one file, and decode it whole as training would."""
    try:
        digest = hashlib.blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()
    except OSError as error:
        return Probe(mistake=f"it cannot be read ({error.strerror})")
    if not decode:
        return Probe(digest)
    try:
        size = load_image(path).size
        with Image.open(path) as image:
            return Probe(digest, size, turned=image.getexif().get(_ORIENTATION, 1) > 1)
    except DataError as error:
        return Probe(digest, mistake=str(error))


def _probe(job: tuple[str, bool]) -> Probe:
    return probe(job[0], decode=job[1])


def probe_all(jobs: Sequence[tuple[str, bool]]) -> list[Probe]:
    """Read many files, with progress.

    Args:
        jobs: Path, and whether to decode it.
    """
    found = _in_processes(jobs) if len(jobs) > _FEW else map(_probe, jobs)
    return list(progress(found, total=len(jobs), desc="pictures", unit="pictures"))


def _in_processes(jobs: Sequence[tuple[str, bool]]) -> Iterator[Probe]:
    with ProcessPoolExecutor(_cores()) as pool:
        yield from pool.map(_probe, jobs, chunksize=_CHUNK)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

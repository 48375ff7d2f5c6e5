"""Makes the embedded data, each part whole or not at all."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from minigpt4.common.errors import ConfigError, DataError
from minigpt4.datasets.tiny.hands import Hands
from minigpt4.datasets.tiny.parts import write_mvtec
from minigpt4.datasets.tiny.pretrain import write_pretrain
from minigpt4.datasets.tiny.vivqa import write_vivqa

logger = logging.getLogger(__name__)

# Raised whenever the same seed would give other data, so that old folders are made anew.
VERSION = 2
MANIFEST = "manifest.json"
PARTS: dict[str, Callable[..., dict[str, int]]] = {
    "vivqa": write_vivqa,
    "mvtec": write_mvtec,
    "pretrain": write_pretrain,
}


def generate(
    out: Path, *, seed: int = 0, scale: float = 1.0, parts: Sequence[str] = tuple(PARTS)
) -> dict[str, dict[str, int]]:
    """Make the embedded data, or leave alone what is there with the same settings.

    Each part is made in a temporary folder and renamed, so it is there whole or not at all.

    Args:
        out: Folder that will hold one folder a part.
        seed: Seed of everything.
        scale: Shrinks every part; 1 is what the quick start and the pre-training use.
        parts: Some of ``vivqa``, ``mvtec``, ``pretrain``.

    Returns:
        What each part holds, by name.

    Raises:
        ConfigError: An unknown part, or a scale that is not above 0.
        DataError: A folder in the way that this program did not make.
    """
    unknown = [name for name in parts if name not in PARTS]
    if unknown:
        raise ConfigError(f"There is no part {unknown[0]!r}; choose from {', '.join(PARTS)}.")
    if scale <= 0:
        raise ConfigError(f"scale is {scale}; it has to be above 0.")
    out.mkdir(parents=True, exist_ok=True)
    with Hands() as hands:
        return {name: _make_part(out / name, seed=seed, scale=scale, hands=hands) for name in parts}


def _make_part(target: Path, *, seed: int, scale: float, hands: Hands) -> dict[str, int]:
    settings = {"version": VERSION, "seed": seed, "scale": scale}
    found = _read_manifest(target)
    if found is not None and all(found.get(key) == value for key, value in settings.items()):
        logger.info("%s is there already.", target)
        counts: dict[str, int] = found["counts"]
        return counts
    if found is None and target.exists() and any(target.iterdir()):
        raise DataError(
            f"{target} holds files but no {MANIFEST}, so it was not made here;"
            " move it away or choose another --out."
        )
    started = time.monotonic()
    building = Path(tempfile.mkdtemp(prefix=f".{target.name}-", suffix=".tmp", dir=target.parent))
    try:
        counts = PARTS[target.name](building, seed=seed, scale=scale, hands=hands)
        manifest = json.dumps({**settings, "counts": counts}, indent=1)
        (building / MANIFEST).write_text(manifest, encoding="utf-8")
        building.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        building.replace(target)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    logger.info("Made %s in %.0f s: %s", target, time.monotonic() - started, counts)
    return counts


def _read_manifest(target: Path) -> dict[str, Any] | None:
    try:
        manifest: dict[str, Any] = json.loads((target / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest

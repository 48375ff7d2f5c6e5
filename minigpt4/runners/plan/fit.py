"""Whether a step fits: into this machine, into common GPUs, and with which settings it would."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from minigpt4.common.errors import ResourceError
from minigpt4.common.settings import ModelSettings
from minigpt4.runners.plan.memory import GIB, Estimate, Machine, Workload, estimate
from minigpt4.runners.plan.sizes import ModelSizes

logger = logging.getLogger(__name__)

GPUS = (16, 24, 40, 80)
"""Memory of common GPUs, in GB as sold."""
_USABLE = 0.93
"""What of it a program gets: error correction, driver and display take the rest."""
_SURE = 0.7
"""Least share of its estimate that what comes and goes takes; below it nothing is refused."""


@dataclass(frozen=True, slots=True)
class Variant:
    """Other settings of the same run.

    Attributes:
        label: What differs, as ``--options`` take it; empty for the settings as they are.
        changes: Of section ``model``.
    """

    label: str
    changes: dict[str, Any]

    def of(self, settings: ModelSettings) -> ModelSettings:
        """The changed settings."""
        return replace(settings, **self.changes)


def gpu_room(gigabytes: int) -> float:
    """Bytes that a program can have on a GPU of that size."""
    return _USABLE * gigabytes * GIB


def variants(settings: ModelSettings, machine: Machine) -> list[Variant]:
    """The settings as they are, and what could be set otherwise to take less memory."""
    checkpoint = {"use_grad_checkpoint_llm": True}
    found: list[dict[str, Any]] = [{}]
    if not settings.use_grad_checkpoint_llm:
        found.append(checkpoint)
    if settings.freeze_llm and not settings.load_in_4bit and machine.device != "mps":
        four = {"load_in_4bit": True}
        if settings.low_resource:
            four["low_resource"] = False
        found.append(four)
        if not settings.use_grad_checkpoint_llm:
            found.append(four | checkpoint)
    return [
        Variant(" ".join(f"model.{key}={value}" for key, value in changes.items()), changes)
        for changes in found
    ]


def room_on(device: torch.device) -> int | None:
    """Bytes that are free on a device; None where that cannot be known."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]) if torch.cuda.is_available() else None
    if device.type != "cpu":
        return None
    import psutil

    free = psutil.virtual_memory().available + psutil.swap_memory().free
    return min([free, *_container_room()])


def needs_checkpointing(
    settings: ModelSettings,
    sizes: ModelSizes,
    work: Workload,
    machine: Machine,
    *,
    room: int | None,
    processes: int = 1,
) -> bool:
    """Whether a run fits with gradient checkpointing of the language model, and not without.

    Args: see ``refuse_too_little_memory``.
    """
    if room is None or settings.use_grad_checkpoint_llm:
        return False
    saving = replace(settings, use_grad_checkpoint_llm=True)
    without, needed = (estimate(each, sizes, work, machine).total for each in (settings, saving))
    return needed <= room // processes < without


def refuse_too_little_memory(
    settings: ModelSettings,
    sizes: ModelSizes,
    work: Workload,
    machine: Machine,
    *,
    room: int | None,
    processes: int = 1,
) -> None:
    """Stop before long work that cannot fit; warn where it may not.

    Args:
        settings: Section ``model``.
        sizes: Of its model.
        work: The largest step that is expected.
        machine: Where it runs.
        room: Free bytes; None lets everything pass.
        processes: How many share the room.
    Raises:
        ResourceError: It does not fit, even if it takes a good deal less than estimated.
    """
    if room is None:
        return
    room //= processes
    needed = estimate(settings, sizes, work, machine)
    if needed.total <= room:
        return
    where = "GPU memory" if machine.device == "cuda" else "memory"
    message = (
        f"Training needs about {needed.total / GIB:.1f} GiB of {where} at batch {work.batch} "
        f"({_parts(needed)}), and {room / GIB:.1f} GiB are free: "
        f"{remedy(settings, sizes, work, machine, room)}; train.py --plan --estimate shows every "
        "part."
    )
    least = needed.stays + _SURE * (needed.total - needed.stays)
    if least > room:
        raise ResourceError(message)
    logger.warning("%s", message)


def remedy(
    settings: ModelSettings, sizes: ModelSizes, work: Workload, machine: Machine, room: int
) -> str:
    """The settings nearest to the given ones that fit."""
    for each in variants(settings, machine):
        for batch in dict.fromkeys((work.batch, 1)):
            step = replace(work, batch=batch)
            if estimate(each.of(settings), sizes, step, machine).total > room:
                continue
            options = [each.label] if each.label else []
            if batch < work.batch:
                options.append(
                    f"batch_size 1 with run.accum_grad_iters {work.batch} times as large"
                )
            return "set " + " and ".join(options)
    return "no setting of this model fits, use a smaller one or another device"


def _parts(needed: Estimate) -> str:
    largest = sorted(needed.items, key=lambda item: -item.bytes)[:3]
    return ", ".join(f"{item.name} {item.bytes / GIB:.1f}" for item in largest)


def _container_room() -> Iterator[int]:
    """What a container's limit leaves, where there is one (Linux control groups, version 2)."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text("ascii").strip()
        used = (folder / "memory.current").read_text("ascii").strip()
        cache = (folder / "memory.stat").read_text("ascii")
    except OSError:
        return
    if limit.isdigit():
        # The page cache counts as used, but makes room.
        given = dict(line.split() for line in cache.splitlines())
        yield int(limit) - int(used) + int(given.get("inactive_file", 0))

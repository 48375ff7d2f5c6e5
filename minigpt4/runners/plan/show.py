"""A plan as text for the screen and as plain data for a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

from minigpt4.common.settings import ModelSettings
from minigpt4.runners.plan.advice import Advice, Situation
from minigpt4.runners.plan.clock import duration, gib, time_of_day
from minigpt4.runners.plan.fit import GPUS, gpu_room, variants
from minigpt4.runners.plan.lengths import Lengths
from minigpt4.runners.plan.memory import GIB, Machine, Workload, estimate, largest_batch
from minigpt4.runners.plan.sizes import ModelSizes

_BATCHES = (1, 2, 4, 8, 16, 32)


def measured_rows(now: Situation) -> list[tuple[str, str]]:
    """What was measured, as names and values."""
    measured, cache = now.measured, now.measured.cache
    step = measured.step_seconds + now.read_wait
    rows = [
        ("a step", f"{duration(step)}, {measured.batch / step:.3g} samples a second"),
        ("the first step", duration(measured.first_seconds)),
        ("reading a batch", f"{duration(measured.read_seconds)} on one core"),
        ("opening and loading", duration(measured.build_seconds)),
    ]
    if cache is not None and now.run.feature_cache != "off":
        todo = cache.pictures - cache.known
        rows.append(
            (
                f"feature cache ({now.run.feature_cache})",
                f"{todo:,} of {cache.pictures:,} pictures to encode, {duration(cache.seconds)}; "
                f"{gib(cache.bytes)} in all",
            )
        )
    rows += [
        (
            "to the end",
            f"{measured.steps_left:,} steps, {duration(now.seconds)} without validation "
            f"({time_of_day(now.seconds)})",
        ),
        (
            "peak memory",
            f"{gib(measured.peak_bytes)} ({gib(measured.loaded_bytes)} before the first step; "
            f"estimated {gib(now.estimated())})",
        ),
    ]
    return rows


def measured_text(now: Situation, advice: Sequence[Advice], *, title: str) -> str:
    """A measured plan for the screen."""
    lines = [title, *_aligned(measured_rows(now))]
    if advice:
        lines += ["", "What would help", *_aligned((a.setting, a.effect) for a in advice)]
    return "\n".join(lines)


def estimated_text(
    settings: ModelSettings,
    sizes: ModelSizes,
    lengths: Lengths,
    work: Workload,
    machine: Machine,
    *,
    title: str,
) -> str:
    """An estimate for the screen: every item, other batch sizes, other settings, common GPUs."""
    found = estimate(settings, sizes, work, machine)
    lines = [
        title,
        *_aligned(
            [
                ("language model", f"{sizes.language.name}, {sizes.language.parameters:,}"),
                ("image encoder", f"{sizes.vision.name}, {sizes.vision.parameters:,}"),
                (
                    "longest sequence",
                    f"{work.positions} positions, {sizes.vision.positions} of a picture; "
                    f"{lengths.origin}",
                ),
                ("computing in", f"{_mixed(machine)} on {machine.device}"),
            ]
        ),
        "",
        f"GiB at batch {work.batch}",
        *_numbers([(item.name, item.bytes / GIB) for item in found.items]),
        *_numbers([("total", found.total / GIB)]),
        "",
        _table_row("total GiB by batch size", [str(batch) for batch in _BATCHES]),
    ]
    different = variants(settings, machine)
    for each in different:
        totals = [_total(each.of(settings), sizes, work, machine, batch) for batch in _BATCHES]
        cells = [f"{total / GIB:.1f}" for total in totals]
        lines.append(_table_row(each.label or "as configured", cells))
    if machine.device == "cuda":
        lines += ["", _table_row("largest batch on", [f"{size} GB" for size in GPUS])]
        for each in different:
            largest = _largest(each.of(settings), sizes, work, machine)
            cells = [str(batch) if batch else "none" for batch in largest.values()]
            lines.append(_table_row(each.label or "as configured", cells))
    return "\n".join(lines)


def estimated_data(
    settings: ModelSettings,
    sizes: ModelSizes,
    lengths: Lengths,
    work: Workload,
    machine: Machine,
) -> dict[str, Any]:
    """An estimate as plain data; sizes in bytes."""
    found = estimate(settings, sizes, work, machine)
    return {
        "machine": asdict(machine),
        "lengths": asdict(lengths),
        "work": asdict(work),
        "parameters": {
            "language model": sizes.language.parameters,
            "image encoder": sizes.vision.parameters,
            "projection": sizes.projection,
        },
        "items": [asdict(item) for item in found.items],
        "total_bytes": found.total,
        "settings": [
            {
                "changes": each.changes,
                "total_bytes": {
                    str(batch): _total(each.of(settings), sizes, work, machine, batch)
                    for batch in _BATCHES
                },
                "largest_batch": _largest(each.of(settings), sizes, work, machine),
            }
            for each in variants(settings, machine)
        ],
    }


def measured_data(now: Situation, advice: Sequence[Advice]) -> dict[str, Any]:
    """A measured plan as plain data."""
    step = now.measured.step_seconds + now.read_wait
    return {
        **asdict(now.measured),
        "seconds_per_step": step,
        "samples_per_second": now.measured.batch / step,
        "seconds_to_end": now.seconds,
        "advice": [asdict(each) for each in advice],
    }


def _total(
    settings: ModelSettings, sizes: ModelSizes, work: Workload, machine: Machine, batch: int
) -> int:
    return estimate(settings, sizes, replace(work, batch=batch), machine).total


def _largest(
    settings: ModelSettings, sizes: ModelSizes, work: Workload, machine: Machine
) -> dict[str, int]:
    return {
        f"{size} GB": largest_batch(settings, sizes, work, machine, room=gpu_room(size))
        for size in GPUS
    }


def _mixed(machine: Machine) -> str:
    return "the weights' type" if machine.mixed == "no" else machine.mixed


def _aligned(rows: Iterable[tuple[str, str]]) -> list[str]:
    listed = list(rows)
    width = max(len(name) for name, _ in listed)
    return [f"  {name:<{width}}  {value}" for name, value in listed]


def _numbers(rows: Iterable[tuple[str, float]]) -> list[str]:
    return [f"  {name:<46}{value:>8.2f}" for name, value in rows]


def _table_row(name: str, cells: Iterable[str]) -> str:
    return f"  {name:<66}" + "".join(f"{cell:>7}" for cell in cells)

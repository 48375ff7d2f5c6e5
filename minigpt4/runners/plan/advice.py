"""What would make a measured run faster or smaller, and by how much; only what applies."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from minigpt4.common.settings import ModelSettings, RunSettings
from minigpt4.datasets.loaders import worker_count
from minigpt4.runners.plan.clock import duration, gib
from minigpt4.runners.plan.fit import variants
from minigpt4.runners.plan.measure import Measured
from minigpt4.runners.plan.memory import Machine, Workload, estimate
from minigpt4.runners.plan.sizes import ModelSizes

_WORTH = 0.03
"""Share of the run's time below which nothing is said."""
_TIGHT = 0.85
"""Share of the memory above which less of it is advised."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What to set, and what it is estimated to bring."""

    setting: str
    effect: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What is known of a run.

    Attributes:
        measured: Its first steps.
        settings, run: Its sections.
        sizes, work, machine: What its memory is estimated from.
        room: Bytes the device has for it in all; None where that is not known.
    """

    measured: Measured
    settings: ModelSettings
    run: RunSettings
    sizes: ModelSizes
    work: Workload
    machine: Machine
    room: int | None

    @property
    def read_wait(self) -> float:
        """Seconds of a step that waiting for data takes.

        Without workers a batch is read between steps, else beside them, by as many as there are
        cores. With the cache a step reads no pictures.
        """
        if self.run.feature_cache != "off" and self.measured.cache is not None:
            return 0.0
        workers = min(worker_count(self.run.num_workers), max(os.cpu_count() or 1, 1))
        if workers == 0:
            return self.measured.read_seconds
        return max(0.0, self.measured.read_seconds / workers - self.measured.step_seconds)

    @property
    def seconds(self) -> float:
        """To the end of the run, validation not counted."""
        first = 0.0
        if self.run.feature_cache != "off" and self.measured.cache is not None:
            first = self.measured.cache.seconds
        step = self.measured.step_seconds + self.read_wait
        return first + self.measured.first_seconds + step * max(self.measured.steps_left - 1, 0)

    def estimated(self, work: Workload | None = None, **changes: object) -> int:
        """Bytes at the peak with other settings, by the estimate."""
        settings = replace(self.settings, **changes)  # type: ignore[arg-type]
        return estimate(settings, self.sizes, work or self.work, self.machine).total

    def peak_with(self, work: Workload | None = None, **changes: object) -> int:
        """Bytes at the peak with other settings: what was measured, and what the estimate adds."""
        return self.measured.peak_bytes + self.estimated(work, **changes) - self.estimated()

    def fits(self, needed: float) -> bool:
        """Whether there is room for so much, with some left."""
        return self.room is None or needed <= _TIGHT * self.room


def advise(situation: Situation) -> list[Advice]:
    """All that applies, most useful first as far as can be told."""
    rules: tuple[Callable[[Situation], Iterator[Advice]], ...] = (
        _less_memory,
        _cache,
        _no_checkpointing,
        _larger_batches,
        _workers,
    )
    return [advice for rule in rules for advice in rule(situation)]


def _cache(now: Situation) -> Iterator[Advice]:
    cache = now.measured.cache
    if cache is None or now.run.feature_cache != "off":
        return
    each_step = now.read_wait + now.measured.batch * cache.encode_seconds
    saved = each_step * now.measured.steps_left - cache.pictures * cache.picture_seconds
    if saved > _WORTH * now.seconds:
        yield Advice(
            "run.feature_cache=auto",
            f"{duration(saved)} less: {cache.pictures:,} pictures are encoded once "
            f"({duration(cache.pictures * cache.picture_seconds)}) and kept in "
            f"{gib(cache.bytes)} on the disk",
        )


def _no_checkpointing(now: Situation) -> Iterator[Advice]:
    if not now.settings.use_grad_checkpoint_llm:
        return
    needed = now.peak_with(use_grad_checkpoint_llm=False)
    if not now.fits(needed):
        return
    cache, encoded = now.measured.cache, 0.0
    if cache is not None and now.run.feature_cache == "off":
        encoded = now.measured.batch * cache.encode_seconds
    saved = max(now.measured.forward_seconds - encoded, 0.0) * now.measured.steps_left
    if saved > _WORTH * now.seconds:
        yield Advice(
            "model.use_grad_checkpoint_llm=False",
            f"{duration(saved)} less, as nothing is computed twice; peak memory about "
            f"{gib(needed)} instead of {gib(now.measured.peak_bytes)}",
        )


def _larger_batches(now: Situation) -> Iterator[Advice]:
    """A step takes a + b B seconds for a batch B; of k joined ones k - 1 times a is saved."""
    half, accum = now.measured.half_share, now.run.accum_grad_iters
    if half is None or accum < 2:
        return
    fixed = max(2 * half - 1, 0.0) * now.measured.step_seconds  # a
    best: tuple[int, int] | None = None
    for factor in range(2, accum + 1):
        if accum % factor:
            continue
        needed = now.peak_with(replace(now.work, batch=now.work.batch * factor))
        if now.fits(needed):
            best = factor, needed
    if best is None:
        return
    factor, needed = best
    saved = fixed * (1 - 1 / factor) * now.measured.steps_left
    if saved > _WORTH * now.seconds:
        yield Advice(
            f"batch_size={now.measured.batch * factor} run.accum_grad_iters={accum // factor}",
            f"{duration(saved)} less for the same samples an optimizer step (iters_per_epoch then "
            f"counts {factor} times as many samples); peak memory about {gib(needed)}",
        )


def _workers(now: Situation) -> Iterator[Advice]:
    cores, have = os.cpu_count() or 1, worker_count(now.run.num_workers)
    if have > cores:
        yield Advice(
            f"run.num_workers={max(cores - 1, 0)}",
            f"there are {cores} cores; {have} reading processes only take memory and turns",
        )
    saved = now.read_wait * now.measured.steps_left
    if have < cores - 1 and saved > _WORTH * now.seconds:
        more = min(cores - 1, have + max(1, round(now.read_wait / now.measured.step_seconds)))
        yield Advice(
            f"run.num_workers={more}",
            f"up to {duration(saved)} less: {duration(now.read_wait)} of a step is waiting for "
            "pictures",
        )


def _less_memory(now: Situation) -> Iterator[Advice]:
    """Where it is tight: what the estimate says each setting would save."""
    if now.fits(now.measured.peak_bytes):
        return
    for each in variants(now.settings, now.machine)[1:]:
        saved = now.estimated() - now.estimated(**each.changes)
        if saved <= 0:
            continue
        slower = ""
        if each.changes.get("use_grad_checkpoint_llm"):
            slower = f", about {duration(now.measured.forward_seconds)} a step slower"
        elif each.changes.get("load_in_4bit"):
            slower = ", slower on a CPU" if now.machine.device == "cpu" else ""
        yield Advice(each.label, f"about {gib(saved)} less memory{slower}")
    if now.work.batch > 1:
        saved = now.estimated() - now.estimated(replace(now.work, batch=1))
        accum = now.run.accum_grad_iters * now.work.batch
        yield Advice(
            f"batch_size=1 run.accum_grad_iters={accum}",
            f"about {gib(saved)} less memory for the same samples an optimizer step",
        )

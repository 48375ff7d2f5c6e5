"""The line at the start of a run, lengths of sequences, and what fits where."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from minigpt4.common.errors import ResourceError
from minigpt4.common.settings import ModelSettings, RunSettings
from minigpt4.datasets.schema import Batch
from minigpt4.runners.plan import pace
from minigpt4.runners.plan.advice import Advice, Situation, advise
from minigpt4.runners.plan.cache_work import CacheWork
from minigpt4.runners.plan.clock import duration, gib, time_of_day
from minigpt4.runners.plan.fit import (
    gpu_room,
    needs_checkpointing,
    refuse_too_little_memory,
    room_on,
)
from minigpt4.runners.plan.measure import Measured
from minigpt4.runners.plan.memory import GIB, Machine, Workload, estimate, largest_batch
from minigpt4.runners.plan.sizes import ModelSizes, language_sizes, vision_sizes
from minigpt4.tasks.base import TrainingData

CPU = torch.device("cpu")
GPU = Machine(device="cuda", mixed="bf16")
SEVEN = ModelSettings(
    llama_model="meta-llama/Llama-2-7b-chat-hf", low_resource=True, vit_weights="random"
)
STEP = Workload(batch=2, positions=350, answer=10)


@pytest.fixture(scope="module")
def sizes() -> ModelSizes:
    return ModelSizes(vision=vision_sizes(SEVEN), language=language_sizes(SEVEN))


# Time.


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.421, "0.42 s"), (42, "42 s"), (200, "3 min 20 s"), (8400, "2 h 20 min"),
     (3600, "1 h"), (7199.6, "2 h"), (270_000, "3 d 3 h")],
)  # fmt: skip
def test_durations_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_end_has_a_date_when_it_is_another_day() -> None:
    now = datetime(2026, 3, 31, 21, 50)
    assert time_of_day(1200, now) == "22:10"
    assert time_of_day(3 * 3600, now) == "2026-04-01 00:50"
    assert gib(3.14 * GIB) == "3.1 GiB"


class Clock:
    """Time that passes only when a batch is used."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


def follow(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, seconds: list[float], **run: Any
) -> list[int]:
    """Use the batches of an epoch, each for so many seconds; their numbers."""
    monkeypatch.setattr(pace.time, "perf_counter", clock.perf_counter)

    def batches(epoch: int, first: int) -> Iterator[Batch]:
        return iter(Batch(answer=[str(number)]) for number in range(first, len(seconds)))

    data = TrainingData(iters_per_epoch=len(seconds), batch_size=1, train_batches=batches)
    settings = RunSettings(**({"max_epoch": 3} | run))
    used = []
    for number, batch in enumerate(pace.announce_pace(data, settings, CPU).train_batches(0, 0)):
        used.append(int(batch["answer"][0]))
        clock.now += seconds[number]
    return used


def test_the_pace_is_said_once_without_the_first_step(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        used = follow(Clock(), monkeypatch, [30.0] + [0.5] * 19)
    assert used == list(range(20))
    (line,) = caplog.messages
    # 5 steps of half a second after the first, 6 of 60 done
    assert line.startswith("about 0.50 s a step: 27 s to the end (")
    assert "peak memory" in line


def test_whole_accumulations_are_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        follow(Clock(), monkeypatch, [9.0, 1, 1, 4] + [1, 1, 1, 4] * 4, accum_grad_iters=4)
    assert "about 1.8 s a step" in caplog.messages[0]  # 7 seconds for each four


def test_long_steps_are_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        follow(Clock(), monkeypatch, [100.0, 90.0, 90.0])
    assert caplog.messages[0].startswith("about 90 s a step: 10 min 30 s to the end")


# Memory.


def test_checkpointing_quantizing_and_smaller_batches_take_less(sizes: ModelSizes) -> None:
    def total(batch: int = 2, **changes: Any) -> int:
        work = replace(STEP, batch=batch)
        return estimate(replace(SEVEN, **changes), sizes, work, GPU).total

    four = {"low_resource": False, "load_in_4bit": True}
    assert total(**four) < total() < total(low_resource=False)
    assert total(use_grad_checkpoint_llm=True) < total()
    assert total(1) < total(2) < total(4)
    whole = estimate(replace(SEVEN, low_resource=False), sizes, STEP, GPU)
    items = {item.name: item.bytes for item in whole.items}
    assert items["language model, auto"] == 2 * 6_738_415_616
    # matrices that train are copied at each use, frozen ones are in the right type already
    trained = estimate(
        replace(SEVEN, low_resource=False, freeze_llm=False, lora_r=0), sizes, STEP, GPU
    )
    copies = [item.bytes for item in trained.items if "copies" in item.name]
    assert copies and copies[0] > 11 * GIB
    assert not any("copies" in name for name in items)


def test_loading_counts_where_it_is_the_peak(sizes: ModelSizes) -> None:
    found = estimate(
        replace(SEVEN, low_resource=False, use_grad_checkpoint_llm=True),
        sizes,
        replace(STEP, batch=1, cached=True),
        Machine(device="cpu", mixed="bf16"),
    )
    assert found.total > 4 * 6_738_415_616  # in fp32 first
    items = {item.name: item.bytes for item in found.items}
    assert items["language model, auto"] < 0.55 * 4 * 6_738_415_616


def test_the_largest_batch_fits_and_the_next_does_not(sizes: ModelSizes) -> None:
    for gigabytes in (24, 80):
        room = gpu_room(gigabytes)
        best = largest_batch(SEVEN, sizes, STEP, GPU, room=room)
        totals = [
            estimate(SEVEN, sizes, replace(STEP, batch=b), GPU).total for b in (best, best + 1)
        ]
        assert totals[0] <= room < totals[1]
    assert largest_batch(SEVEN, sizes, STEP, GPU, room=5 * GIB) == 0


def test_too_little_memory_is_refused_with_what_would_fit(sizes: ModelSizes) -> None:
    def judge(room: int | None) -> None:
        refuse_too_little_memory(SEVEN, sizes, STEP, GPU, room=room)

    with pytest.raises(ResourceError) as refused:
        judge(11 * GIB)
    assert "model.low_resource" in str(refused.value) or "use_grad_checkpoint" in str(refused.value)
    assert "11.0 GiB are free: set " in str(refused.value)
    with pytest.raises(ResourceError, match="no setting of this model fits"):
        judge(3 * GIB)
    judge(None)
    judge(80 * GIB)


def test_checkpointing_is_needed_between_what_fits_with_it_and_without(sizes: ModelSizes) -> None:
    plain, saving = (
        estimate(replace(SEVEN, use_grad_checkpoint_llm=on), sizes, STEP, GPU).total
        for on in (False, True)
    )
    rooms = {None: False, saving - 1: False, saving: True, plain - 1: True, plain: False}
    for room, needed in rooms.items():
        assert needs_checkpointing(SEVEN, sizes, STEP, GPU, room=room) is needed
    on = replace(SEVEN, use_grad_checkpoint_llm=True)
    assert not needs_checkpointing(on, sizes, STEP, GPU, room=saving)
    assert needs_checkpointing(SEVEN, sizes, STEP, GPU, room=2 * saving, processes=2)


def test_what_may_just_fit_is_warned_of(
    sizes: ModelSizes, caplog: pytest.LogCaptureFixture
) -> None:
    room = int(0.97 * estimate(SEVEN, sizes, STEP, GPU).total)
    refuse_too_little_memory(SEVEN, sizes, STEP, GPU, room=room)
    assert "Training needs about" in caplog.text
    with pytest.raises(ResourceError):
        refuse_too_little_memory(SEVEN, sizes, STEP, GPU, room=room, processes=2)


def test_the_hosts_memory_is_known() -> None:
    room = room_on(CPU)
    assert room is not None and 0 < room < 2**50


# Advice.


def situation(
    sizes: ModelSizes,
    *,
    room: int | None = 100 * GIB,
    cache: CacheWork | None = None,
    model: dict[str, Any] | None = None,
    half: float | None = None,
    **run: Any,
) -> Situation:
    measured = Measured(
        batch=2, steps=5, first_seconds=3.0, step_seconds=2.0, read_seconds=0.01,
        forward_seconds=0.6, half_share=half, build_seconds=20.0, steps_left=1000,
        loaded_bytes=9 * GIB, peak_bytes=12 * GIB, cache=cache,
    )  # fmt: skip
    return Situation(
        measured=measured,
        settings=replace(SEVEN, **(model or {})),
        run=RunSettings(**run),
        sizes=sizes,
        work=STEP,
        machine=GPU,
        room=room,
    )


def by_setting(found: list[Advice]) -> dict[str, str]:
    return {advice.setting: advice.effect for advice in found}


def test_nothing_is_advised_where_nothing_applies(sizes: ModelSizes) -> None:
    assert advise(situation(sizes)) == []


def test_a_cache_is_advised_when_pictures_come_again(sizes: ModelSizes) -> None:
    work = CacheWork(pictures=100, known=0, bytes=GIB, picture_seconds=0.6, encode_seconds=0.5)
    found = by_setting(advise(situation(sizes, cache=work)))
    # 1000 steps with 2 pictures of half a second each, and 0.01 s of reading; 100 of 0.6 s remain
    assert found["run.feature_cache=auto"].startswith("15 min 50 s less: 100 pictures")
    once = replace(work, pictures=2000)
    assert advise(situation(sizes, cache=once)) == []
    assert advise(situation(sizes, cache=work, feature_cache="disk")) == []


def test_checkpointing_is_advised_against_only_where_there_is_room(sizes: ModelSizes) -> None:
    on = {"use_grad_checkpoint_llm": True}
    found = by_setting(advise(situation(sizes, model=on)))
    assert found["model.use_grad_checkpoint_llm=False"].startswith("10 min less")  # 1000 x 0.6 s
    assert advise(situation(sizes, model=on, room=15 * GIB)) == []


def test_larger_batches_save_what_every_step_costs(sizes: ModelSizes) -> None:
    # Half a batch takes 0.6 of the time: 0.2 of it, 0.4 s, does not depend on the batch.
    found = by_setting(advise(situation(sizes, half=0.6, accum_grad_iters=4)))
    assert found["batch_size=8 run.accum_grad_iters=1"].startswith("5 min less")  # 3/4 of 400 s
    small = by_setting(advise(situation(sizes, half=0.6, accum_grad_iters=4, room=24 * GIB)))
    assert list(small) == ["batch_size=4 run.accum_grad_iters=2"]


def test_where_memory_is_tight_less_of_it_is_advised(sizes: ModelSizes) -> None:
    found = by_setting(advise(situation(sizes, room=13 * GIB)))
    assert "model.use_grad_checkpoint_llm=True" in found
    assert "batch_size=1 run.accum_grad_iters=2" in found


def test_more_workers_than_cores_are_advised_against(
    sizes: ModelSizes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert list(by_setting(advise(situation(sizes, num_workers=6)))) == ["run.num_workers=3"]
    slow = situation(sizes, num_workers=0)
    slow = replace(slow, measured=replace(slow.measured, read_seconds=1.0))
    assert by_setting(advise(slow))["run.num_workers=1"].startswith("up to 16 min 40 s less")


def test_a_folder_of_known_name_that_is_not_there_is_still_known(tmp_path: Path) -> None:
    named = replace(SEVEN, llama_model=str(tmp_path / "Llama-2-7b-chat-hf"))
    assert language_sizes(named).parameters == 6_738_415_616

"""The loop: what it computes, what it writes, how it resumes and stops."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_run import ToyModel, make_runner, samples, toy_data, weights_of

from minigpt4.common.checkpoint import load_checkpoint_file
from minigpt4.common.errors import ResourceError, TrainingError
from minigpt4.datasets.schema import Batch
from minigpt4.models import precision
from minigpt4.runners import runner_base
from minigpt4.runners.records import read_records
from minigpt4.tasks.base import BaseTask, EvaluationData


def losses(folder: Path) -> dict[int, float]:
    return {r["step"]: r["loss"] for r in read_records(folder / "log.txt") if r["kind"] == "train"}


def assert_same(one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.equal(value, two[name]), name


# What it computes.


def test_the_loss_falls_and_only_trained_parts_change(tmp_path: Path) -> None:
    runner = make_runner(tmp_path, max_epoch=6)
    frozen = runner.model.frozen.weight.clone()
    runner.train()
    values = list(losses(tmp_path).values())
    assert sum(values[-5:]) < 0.8 * sum(values[:5])
    assert torch.equal(runner.model.frozen.weight, frozen)


@pytest.mark.parametrize("iters", [3, 4])
def test_accumulating_equals_one_large_batch(tmp_path: Path, iters: int) -> None:
    """Two by two is four; an epoch's last window of one is stepped as the batch of two it is."""
    small = make_runner(
        tmp_path / "a", data=toy_data(iters=iters, batch_size=2), accum_grad_iters=2, dropout=0.0
    )

    def train_batches(epoch: int, first: int) -> Any:
        end = (epoch + 1) * iters * 2
        for start in range(epoch * iters * 2, end, 4):
            yield samples(start, min(4, end - start))

    data = toy_data(iters=-(-iters // 2))
    data.train_batches = train_batches
    large = make_runner(tmp_path / "b", data=data, dropout=0.0)
    # Rates follow the iteration, of which the large batches have half as many.
    for runner in (small, large):
        runner.schedule.step = lambda epoch, step: 0.05  # type: ignore[method-assign]
        runner.train()
    for name, value in weights_of(small).items():
        torch.testing.assert_close(value, weights_of(large)[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("limit", "expected"), [(0.01, 0.01), (None, None)])
def test_the_gradient_is_clipped_to_the_norm(
    tmp_path: Path, limit: float | None, expected: float | None
) -> None:
    runner = make_runner(tmp_path, max_grad_norm=limit, max_epoch=1)
    norms = []

    def look(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        grads = [p.grad for group in optimizer.param_groups for p in group["params"]]
        norms.append(float(torch.stack([g.norm() for g in grads if g is not None]).norm()))

    runner.optimizer.optimizer.register_step_pre_hook(look)
    runner.train()
    assert len(norms) == 5
    if expected is None:
        assert min(norms) > 0.05
    else:
        assert norms == pytest.approx([expected] * 5, rel=1e-3)


def test_validation_is_the_mean_over_samples_without_dropout(tmp_path: Path) -> None:
    runner = make_runner(tmp_path, data=toy_data(valid=True), max_epoch=1)
    result = runner.train()
    model = runner.model.eval()
    with torch.no_grad():
        expected = model(samples(10_000, 9))["loss"].item()
    assert result.epochs[0]["valid_loss"] == pytest.approx(expected, rel=1e-6)


def test_validation_does_not_change_training(tmp_path: Path) -> None:
    with_it = make_runner(tmp_path / "a", data=toy_data(valid=True))
    without = make_runner(tmp_path / "b")
    with_it.train()
    without.train()
    assert_same(weights_of(with_it), weights_of(without))


def test_the_best_checkpoint_is_that_of_the_best_epoch(tmp_path: Path) -> None:
    class Scored(BaseTask):
        scores = iter([0.1, 0.7, 0.3])

        def evaluation_figures(self, model: Any, data: EvaluationData) -> dict[str, float]:
            return {"accuracy": next(self.scores)}

        def validation_score(self, figures: dict[str, float]) -> list[float]:
            return [figures["accuracy"]]

    runner = make_runner(tmp_path, data=toy_data(valid=True), task=Scored(), max_epoch=3)
    result = runner.train()
    assert result.best_checkpoint is not None
    best = load_checkpoint_file(result.best_checkpoint)
    assert best.extra["epoch"] == 1
    assert best.extra["meta"]["best"] == {"epoch": 1, "score": [0.7]}
    assert_same(best.model, load_checkpoint_file(tmp_path / "checkpoint_1.pth").model)


def test_mixed_precision_computes_in_bf16_and_is_taken_off_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_cpu_gains_from_bf16", lambda: True)
    kinds = set()

    class Looking(BaseTask):
        def training_loss(self, model: Any, batch: Batch) -> Tensor:
            hook = runner.model.llama_proj.register_forward_hook(
                lambda module, inputs, output: kinds.add(output.dtype)
            )
            loss = super().training_loss(model, batch)
            hook.remove()
            return loss

    runner = make_runner(tmp_path, task=Looking(), amp=True, max_epoch=6)
    runner.train()
    assert kinds == {torch.bfloat16}
    values = list(losses(tmp_path).values())
    assert sum(values[-5:]) < 0.8 * sum(values[:5])
    assert all(value.dtype == torch.float32 for value in weights_of(runner).values())
    runner.close()
    with torch.no_grad():
        loss = runner.model(samples(0, 2), reduction="none")["loss"]
        logits = runner.model.llama_proj(torch.ones(1, 8))
    assert loss.dtype == logits.dtype == torch.float32


def test_an_epoch_whose_validation_is_not_finite_is_never_the_best(tmp_path: Path) -> None:
    class Overflowing(BaseTask):
        calls = 0

        def sample_losses(self, model: Any, batch: Batch) -> Tensor:
            self.calls += 1
            bad = float("nan") if self.calls > 2 else 1.0  # from the second epoch on
            return super().sample_losses(model, batch) * bad

    result = make_runner(tmp_path, data=toy_data(valid=True), task=Overflowing()).train()
    assert result.best_checkpoint is not None
    assert load_checkpoint_file(result.best_checkpoint).extra["epoch"] == 0


# What it writes.


def test_a_run_leaves_checkpoints_log_and_curves(tmp_path: Path) -> None:
    runner = make_runner(tmp_path, data=toy_data(valid=True), log_freq=2)
    result = runner.train()
    assert result.last_checkpoint == tmp_path / "checkpoint_1.pth"
    assert {p.name for p in tmp_path.iterdir()} == {
        "checkpoint_0.pth", "checkpoint_1.pth", "checkpoint_best.pth", "log.txt", "loss.png",
    }  # fmt: skip
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    records = [json.loads(line) for line in result.log.read_text("utf-8").splitlines()]
    train = [r for r in records if r["kind"] == "train"]
    assert [r["step"] for r in train] == [2, 4, 5, 7, 9, 10]
    assert {"loss", "lr", "samples_per_second"} <= train[0].keys()
    epochs = [r for r in records if r["kind"] == "epoch"]
    assert [r["epoch"] for r in epochs] == [0, 1]
    assert {"train_loss", "train_lr", "valid_loss", "seconds"} <= epochs[0].keys()


def test_a_checkpoint_holds_what_the_originals_do_and_loads_without_pickle(tmp_path: Path) -> None:
    runner = make_runner(tmp_path, max_epoch=1)
    runner.train()
    content = torch.load(tmp_path / "checkpoint_0.pth", weights_only=True)
    assert list(content) == ["model", "optimizer", "config", "scaler", "epoch", "meta"]
    assert content["epoch"] == 0 and content["scaler"] is None
    assert set(content["model"]) == {
        "norm.weight", "norm.bias", "llama_proj.weight", "llama_proj.bias",
    }  # fmt: skip
    assert content["config"] == {"run": {"max_epoch": 1}}
    assert content["meta"]["prompt_style"] == "training"


def test_samples_that_were_skipped_are_counted(tmp_path: Path) -> None:
    def skip(step: int, batch: Batch) -> Batch:
        batch["meta"][0] = {"skipped": ["a.jpg is broken", "b.jpg is broken"]}
        return batch

    result = make_runner(tmp_path, data=toy_data(change=skip), max_epoch=1).train()
    assert result.epochs[0]["skipped_samples"] == 10


# How it resumes.


class Interrupting(BaseTask):
    """Presses Ctrl-C (or another signal) during one call."""

    def __init__(self, call: int, *, number: int = signal.SIGINT, valid: bool = False) -> None:
        self.left = call
        self.number = number
        self.valid = valid

    def training_loss(self, model: Any, batch: Batch) -> Tensor:
        if not self.valid:
            self._count()
        return super().training_loss(model, batch)

    def sample_losses(self, model: Any, batch: Batch) -> Tensor:
        if self.valid:
            self._count()
        return super().sample_losses(model, batch)

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)


SETTINGS = {"max_epoch": 3, "accum_grad_iters": 2}


def whole_run(folder: Path) -> Any:
    runner = make_runner(folder, data=toy_data(valid=True), **SETTINGS)
    return runner, runner.train()


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_run_resumed_after_an_epoch_equals_the_whole_run(tmp_path: Path, epoch: int) -> None:
    whole, result = whole_run(tmp_path / "a")
    path = tmp_path / "a" / f"checkpoint_{epoch}.pth"
    resumed = make_runner(tmp_path / "b", data=toy_data(valid=True), resume=path, **SETTINGS)
    again = resumed.train()
    assert_same(weights_of(resumed), weights_of(whole))
    expected = losses(tmp_path / "a")
    assert losses(tmp_path / "b") == {s: v for s, v in expected.items() if s > 5 * (epoch + 1)}
    assert again.epochs[-1]["valid_loss"] == result.epochs[-1]["valid_loss"]


@pytest.mark.parametrize(
    ("call", "valid", "step", "number"),
    [
        (7, False, 2, signal.SIGINT),
        (8, False, 4, signal.SIGTERM),
        (3, True, 5, signal.SIGINT),
    ],
)
def test_an_interrupted_run_goes_on_where_it_stopped(
    tmp_path: Path, call: int, valid: bool, step: int, number: int
) -> None:
    whole, result = whole_run(tmp_path / "a")
    task = Interrupting(call, number=number, valid=valid)
    stopped = make_runner(tmp_path / "b", data=toy_data(valid=True), task=task, **SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    path = tmp_path / "b" / "checkpoint_interrupted.pth"
    saved = load_checkpoint_file(path).extra
    assert (saved["epoch"], saved["meta"]["step"]) == (0, step)

    resumed = make_runner(tmp_path / "c", data=toy_data(valid=True), resume=path, **SETTINGS)
    again = resumed.train()
    assert_same(weights_of(resumed), weights_of(whole))
    assert losses(tmp_path / "b") | losses(tmp_path / "c") == losses(tmp_path / "a")
    for one, two in zip(again.epochs, result.epochs[1:], strict=True):
        assert {**one, "seconds": 0} == {**two, "seconds": 0}


def test_ctrl_c_in_the_last_step_of_an_epoch_stops_after_its_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runner = make_runner(tmp_path, task=Interrupting(5))
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    assert {p.name for p in tmp_path.glob("*.pth")} == {"checkpoint_0.pth"}
    assert f"run.resume_ckpt_path={tmp_path / 'checkpoint_0.pth'}" in caplog.text


def test_signal_handlers_are_put_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    make_runner(tmp_path, max_epoch=1).train()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


# How it fails.


def poison(at: int) -> Any:
    def change(step: int, batch: Batch) -> Batch:
        if step == at:
            batch["image_features"][1] = float("inf")
        return batch

    return change


@pytest.mark.parametrize("read_every", [1, 4])
def test_a_loss_that_is_not_finite_names_the_batch_and_saves_nothing_of_it(
    tmp_path: Path, read_every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = runner_base.LossMeter
    monkeypatch.setattr(runner_base, "LossMeter", lambda **_: meter(read_every=read_every))
    runner = make_runner(tmp_path, data=toy_data(change=poison(6)), max_epoch=3)
    with pytest.raises(TrainingError, match=r"iteration 6, data set toys, samples toy-24, toy-25"):
        runner.train()
    assert [p.name for p in tmp_path.glob("*.pth")] == ["checkpoint_0.pth"]
    weights = load_checkpoint_file(tmp_path / "checkpoint_0.pth").model
    assert all(bool(torch.isfinite(value).all()) for value in weights.values())


def test_a_gradient_that_is_not_finite_stops_before_the_step(tmp_path: Path) -> None:
    class Exploding(BaseTask):
        def training_loss(self, model: Any, batch: Batch) -> Tensor:
            loss = super().training_loss(model, batch)
            return loss + 0.0 * (model.norm.weight.sum() * 0.0).sqrt()

    runner = make_runner(tmp_path, task=Exploding(), max_grad_norm=1.0)
    before = weights_of(runner)
    with pytest.raises(TrainingError, match="gradient's norm is nan at iteration 0"):
        runner.train()
    assert_same(weights_of(runner), before)


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    class Spoiling(BaseTask):
        def training_loss(self, model: ToyModel, batch: Batch) -> Tensor:
            loss = super().training_loss(model, batch)
            if batch["sample_id"][0] == "toy-16":  # the epoch's last step
                loss.register_hook(lambda gradient: gradient * float("nan"))
            return loss

    runner = make_runner(tmp_path, task=Spoiling())
    with pytest.raises(TrainingError, match="not finite after the last step"):
        runner.train()
    assert not list(tmp_path.glob("*.pth"))


def test_a_full_disk_leaves_the_earlier_checkpoint_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = runner_base.save_training_state

    def save(path: Path, content: dict[str, Any]) -> None:
        if path.name == "checkpoint_1.pth":
            raise ResourceError("The disk is full")
        real(path, content)

    monkeypatch.setattr(runner_base, "save_training_state", save)
    with pytest.raises(ResourceError):
        make_runner(tmp_path, max_epoch=3).train()
    assert load_checkpoint_file(tmp_path / "checkpoint_0.pth").extra["epoch"] == 0

"""The training loop: accumulate, clip, step, log, validate, save, and stop without losing work."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from minigpt4.common.logger import progress
from minigpt4.common.memory import keep_freed_memory
from minigpt4.common.optims import build_optimizer, build_schedule, load_optimizer_state
from minigpt4.common.registry import registry
from minigpt4.common.settings import RunSettings
from minigpt4.datasets.schema import Batch
from minigpt4.models.precision import fit_weights
from minigpt4.runners.checkpointing import (
    BEST,
    INTERRUPTED,
    Position,
    check_finite,
    duplicate,
    position_of,
    save_training_state,
)
from minigpt4.runners.curves import plot_curves
from minigpt4.runners.interrupt import InterruptGuard
from minigpt4.runners.meter import LossMeter
from minigpt4.runners.processes import count_over, mean_over, sum_over
from minigpt4.runners.records import RunRecords, read_records
from minigpt4.runners.rng import preserved_rng, rng_state, seed_everything, set_rng_state
from minigpt4.runners.run_folder import git_revision

if TYPE_CHECKING:
    from accelerate import Accelerator

    from minigpt4.tasks.base import BaseTask, EvaluationData, TrainingData

logger = logging.getLogger(__name__)

_READ_EVERY = 10
"""Values read together where reading makes the host wait (not on CPU)."""


@dataclass(kw_only=True)
class TrainResult:
    """What a run left behind.

    Attributes:
        output_dir: Its folder.
        log: ``log.txt``.
        last_checkpoint: The newest ``checkpoint_<epoch>.pth``; None when nothing was trained.
        best_checkpoint: ``checkpoint_best.pth`` when there was validation.
        epochs: One mapping an epoch: mean training loss, rate, validation figures, seconds.
        test: Figures on ``run.test_splits``, with the best (or the last) weights.
    """

    output_dir: Path
    log: Path
    last_checkpoint: Path | None = None
    best_checkpoint: Path | None = None
    epochs: list[dict[str, Any]] = field(default_factory=list)
    test: dict[str, float] = field(default_factory=dict)


@registry.register_runner("runner_base")
class RunnerBase:
    """Trains a model on what a task gives it.

    Args:
        run: Section ``run``.
        config: The whole resolved configuration, kept in checkpoints.
        task: Gives the loss of a batch and figures of validation.
        model: Trained in place; it is on the accelerator's device.
        data: Batches to train and validate on.
        folder: The run's folder, made before.
        accelerator: Device, precision and processes.
        checkpoint: Training state to go on from; the model holds its weights already.
    """

    def __init__(
        self,
        *,
        run: RunSettings,
        config: dict[str, Any],
        task: BaseTask,
        model: Any,
        data: TrainingData,
        folder: Path,
        accelerator: Accelerator,
        checkpoint: dict[str, Any] | None = None,
    ) -> None:
        self.run = run
        self.config = config
        self.task = task
        self.data = data
        self.folder = folder
        self.accelerator = accelerator
        self.model = model
        self.position = Position() if checkpoint is None else position_of(checkpoint)
        self.result = TrainResult(output_dir=folder, log=folder / "log.txt")
        if (folder / BEST).is_file():
            self.result.best_checkpoint = folder / BEST  # a resumed run took it over
        self._git = git_revision()
        self._records = RunRecords(folder, run, config) if accelerator.is_main_process else None

        fit_weights(model, accelerator.mixed_precision)
        optimizer = build_optimizer(model, run)
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.schedule = build_schedule(optimizer, run, iters_per_epoch=data.iters_per_epoch)
        if checkpoint is not None:
            load_optimizer_state(optimizer, checkpoint["optimizer"])
        # Quantized layers are where they belong and must not be moved.
        self._wrapped, self.optimizer = accelerator.prepare(
            model, optimizer, device_placement=[False, False]
        )
        if checkpoint is not None and checkpoint.get("scaler") and accelerator.scaler is not None:
            accelerator.scaler.load_state_dict(checkpoint["scaler"])

    def train(self) -> TrainResult:
        """Run the epochs that are left.

        Raises:
            TrainingError: The loss or the gradient is not finite.
            ResourceError: The disk is full.
            KeyboardInterrupt: After Ctrl-C or SIGTERM, when the state is saved.
        """
        accelerator = self.accelerator
        if accelerator.device.type == "cpu":
            keep_freed_memory()
        seed_everything(self.run.seed, rank=accelerator.process_index)
        guard = InterruptGuard(device=accelerator.device, world_size=accelerator.num_processes)
        with guard:
            for epoch in range(self.position.epoch, self.run.max_epoch):
                self._epoch(epoch, guard)
        return self.result

    def test(self, data: EvaluationData, *, weights: Path | None = None) -> dict[str, float]:
        """Evaluate outside of training, and log it.

        Args:
            data: What to evaluate on.
            weights: Checkpoint to evaluate; None for the weights as they stand.
        """
        self.accelerator.wait_for_everyone()  # the main process may still be writing
        if weights is not None:
            self.model.load_checkpoint(str(weights))
        figures = self.evaluate(data)
        epoch = max(self.run.max_epoch - 1, 0)
        self._record("test", epoch, self.data.iters_per_epoch, **figures)
        self.result.test = figures
        logger.info("evaluation: %s", _listed(figures))
        return figures

    def close(self) -> None:
        """Close the records, and take accelerate's wrapper off the model's forward."""
        if self._records is not None:
            self._records.close()
        self.accelerator.unwrap_model(self._wrapped, keep_fp32_wrapper=False)

    def _epoch(self, epoch: int, guard: InterruptGuard) -> None:
        begun = time.perf_counter()
        on_cpu = self.accelerator.device.type == "cpu"
        meter = LossMeter(read_every=1 if on_cpu else _READ_EVERY)
        if self.position.meter:
            meter.restore(self.position.meter)
        figures = self._train_epoch(epoch, meter, guard)
        best = False
        if self.data.valid is not None:
            try:
                with guard.at_once():
                    valid = self.evaluate(self.data.valid, stop=guard.agreed)
            except KeyboardInterrupt:
                self._interrupt(epoch, self.data.iters_per_epoch, meter)
            self._record("valid", epoch, self.data.iters_per_epoch, **valid)
            figures |= {f"valid_{name}": value for name, value in valid.items()}
            best = self._is_best(epoch, valid)
        figures["seconds"] = round(time.perf_counter() - begun, 2)
        path = self.folder / f"checkpoint_{epoch}.pth"
        self.position = Position(epoch=epoch + 1, best=self.position.best)
        self._save(path, self.position)
        self._finish_epoch(epoch, figures, path, best=best)
        if epoch + 1 < self.run.max_epoch and guard.agreed():
            self._stop(path)

    def _finish_epoch(self, epoch: int, figures: dict[str, Any], path: Path, *, best: bool) -> None:
        self.result.last_checkpoint = path
        self.result.epochs.append({"epoch": epoch, **figures})
        if best:
            self.result.best_checkpoint = self.folder / BEST
        if self._records is not None:
            if best:
                duplicate(path, self.folder / BEST)
            self._record("epoch", epoch, self.data.iters_per_epoch, **figures)
            plot_curves(read_records(self.result.log), self.folder / "loss.png")
        logger.info(
            "epoch %d: %s; saved %s%s",
            epoch,
            _listed(figures),
            path,
            " (the best so far)" if best else "",
        )

    # One epoch of training.

    def _train_epoch(self, epoch: int, meter: LossMeter, guard: InterruptGuard) -> dict[str, float]:
        run, total, accum = self.run, self.data.iters_per_epoch, self.run.accum_grad_iters
        first = self.position.step
        cut_before = Counter(getattr(self.model, "counts", ()))
        self._wrapped.train()
        batches = self._train_batches(epoch, first)
        lr = self.schedule.step(epoch, max(first - 1, 0))
        with progress(total=total, desc=f"epoch {epoch}", initial=first) as bar:
            for step in range(first, total):
                batch = next(batches)
                lr = self.schedule.step(epoch, step)
                window = min(accum, total - step // accum * accum)
                closes = (step + 1) % accum == 0 or step + 1 == total
                with contextlib.nullcontext() if closes else self._no_sync():
                    loss = self.task.training_loss(self._wrapped, batch)
                    meter.add(epoch * total + step, loss, batch)
                    self.accelerator.backward(loss / window)
                if closes:
                    self._optimizer_step(epoch * total + step, batch, meter)
                bar.update()
                if (step + 1) % run.log_freq == 0 or step + 1 == total:
                    speed = self._log(epoch, step + 1, lr, meter)
                    bar.set_postfix(
                        loss=f"{meter.smoothed or 0:.3f}",
                        lr=f"{lr:.1e}",
                        samples_s=f"{speed:.0f}",
                        refresh=False,
                    )
                if closes and guard.agreed() and step + 1 < total:
                    self._interrupt(epoch, step + 1, meter)
        figures = {"train_loss": mean_over(self.accelerator, meter.mean()), "train_lr": lr}
        counts = Counter(getattr(self.model, "counts", ())) - cut_before
        counts["skipped_samples"] = meter.skipped
        return figures | count_over(self.accelerator, counts)

    def _train_batches(self, epoch: int, first: int) -> Iterator[Batch]:
        rank = self.accelerator.process_index
        if rank < len(self.position.rng):
            set_rng_state(self.position.rng[rank])
        batches = self.data.train_batches(epoch, first)
        # A loader draws a seed when it starts, which a resumed epoch does once more.
        with preserved_rng():
            begin = list(itertools.islice(batches, 1))
        return itertools.chain(begin, batches)

    def _no_sync(self) -> contextlib.AbstractContextManager[Any]:
        return self.accelerator.no_sync(self._wrapped)

    def _optimizer_step(self, step: int, batch: Batch, meter: LossMeter) -> None:
        if self.run.max_grad_norm is not None:
            norm = self.accelerator.clip_grad_norm_(self._parameters, self.run.max_grad_norm)
            # With a loss scaler an infinite norm is no mistake: that step is left out.
            if self.accelerator.scaler is None:
                meter.check_norm(step, norm, batch)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _log(self, epoch: int, step: int, lr: float, meter: LossMeter) -> float:
        loss, speed = meter.recent()
        loss = mean_over(self.accelerator, loss)
        speed = sum_over(self.accelerator, speed)
        self._record("train", epoch, step, loss=loss, lr=lr, samples_per_second=round(speed, 2))
        return speed

    # Evaluation.

    def evaluate(
        self, data: EvaluationData, *, stop: Callable[[], bool] = lambda: False
    ) -> dict[str, float]:
        """Mean loss per sample, and the task's own figures; training goes on as if not called.

        Args:
            data: What to evaluate on.
            stop: Asked after each batch; all processes get the same answer.
        Returns:
            ``loss`` and what the task adds.
        Raises:
            KeyboardInterrupt: ``stop`` said so.
        """
        total, count = 0.0, 0
        self.model.eval()
        with preserved_rng(), torch.inference_mode(), self.accelerator.autocast():
            for batch in progress(data.batches(), total=data.iters, desc="validation"):
                if batch is not None:
                    losses = self.task.sample_losses(self.model, batch)
                    total += float(losses.sum())
                    count += len(losses)
                if stop():
                    raise KeyboardInterrupt
            mean = sum_over(self.accelerator, total) / sum_over(self.accelerator, count)
            return {"loss": mean, **self.task.evaluation_figures(self.model, data)}

    def _is_best(self, epoch: int, figures: dict[str, float]) -> bool:
        score = self.task.validation_score(figures)
        if not all(map(math.isfinite, score)):
            logger.warning("epoch %d cannot be the best: %s", epoch, _listed(figures))
            return False
        if self.position.best is not None and score <= self.position.best["score"]:
            return False
        self.position.best = {"epoch": epoch, "score": score}
        return True

    # Saving.

    def _interrupt(self, epoch: int, step: int, meter: LossMeter) -> NoReturn:
        path = self.folder / INTERRUPTED
        best = self.position.best
        self._save(path, Position(epoch=epoch, step=step, best=best, meter=meter.state()))
        self._stop(path)

    def _stop(self, path: Path) -> NoReturn:
        logger.warning(
            "Stopped. Go on with the same command and --options run.resume_ckpt_path=%s", path
        )
        raise KeyboardInterrupt

    def _save(self, path: Path, position: Position) -> None:
        """Write a checkpoint; every process takes part, the main one writes."""
        from accelerate.utils import gather_object

        rng = gather_object([rng_state()])
        if self.accelerator.is_main_process:
            weights = self.model.trainable_state_dict()
            check_finite(weights)
            scaler = self.accelerator.scaler
            save_training_state(
                path,
                {
                    "model": weights,
                    "optimizer": self.optimizer.state_dict(),
                    "config": self.config,
                    "scaler": scaler.state_dict() if scaler is not None else None,
                    "epoch": position.epoch - 1,
                    "meta": position.meta(git=self._git, rng=rng),
                },
            )
        self.accelerator.wait_for_everyone()

    def _record(self, kind: str, epoch: int, step: int, **values: Any) -> None:
        if self._records is not None:
            done = epoch * self.data.iters_per_epoch + step
            self._records.write(kind, epoch=epoch, step=done, **values)


def _listed(figures: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())

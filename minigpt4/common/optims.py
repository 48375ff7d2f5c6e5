"""Learning-rate schedules and the optimizer.

A schedule sets the rate from (epoch, iteration within the epoch) alone and keeps no state, so a
resumed run needs nothing but its position.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from minigpt4.common.errors import ConfigError
from minigpt4.common.registry import registry
from minigpt4.common.settings import RunSettings


def warmup_lr(step: int, *, warmup_steps: int, start_lr: float, init_lr: float) -> float:
    """Linear rise from ``start_lr`` at step 0 to ``init_lr`` at ``warmup_steps``."""
    return min(init_lr, start_lr + (init_lr - start_lr) * step / max(warmup_steps, 1))


def cosine_lr(step: int, *, total_steps: int, init_lr: float, min_lr: float) -> float:
    """Half a cosine from ``init_lr`` at step 0 to ``min_lr`` at ``total_steps``."""
    return (init_lr - min_lr) * 0.5 * (1.0 + math.cos(math.pi * step / total_steps)) + min_lr


def step_lr(epoch: int, *, init_lr: float, min_lr: float, decay_rate: float) -> float:
    """``init_lr`` times ``decay_rate`` per epoch, never below ``min_lr``."""
    return max(min_lr, init_lr * decay_rate**epoch)


class Schedule(Protocol):
    """What the runner needs of a learning-rate schedule."""

    def lr_at(self, cur_epoch: int, cur_step: int) -> float:
        """The rate of one iteration."""

    def step(self, cur_epoch: int, cur_step: int) -> float:
        """Set the optimizer's rate for one iteration and return it."""


class _LinearWarmupScheduler:
    """Warm-up counted over all iterations of the run, then what a subclass says.

    Args:
        optimizer: Its groups get the rate, times their ``lr_scale`` where they have one.
        max_epoch: Epochs of the run.
        iters_per_epoch: Iterations of an epoch.
        min_lr: The lowest rate after warm-up.
        init_lr: The rate after warm-up.
        warmup_steps: Iterations of warm-up; they may span several epochs.
        warmup_start_lr: The rate of the first iteration; negative for ``init_lr``.
        decay_rate: Factor per epoch, for the schedule that uses it; None for 1.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_epoch: int,
        iters_per_epoch: int,
        min_lr: float,
        init_lr: float,
        warmup_steps: int = 0,
        warmup_start_lr: float = -1.0,
        decay_rate: float | None = None,
    ) -> None:
        self.optimizer = optimizer
        self.max_epoch = max_epoch
        self.iters_per_epoch = iters_per_epoch
        self.min_lr = min_lr
        self.init_lr = init_lr
        self.warmup_steps = warmup_steps
        self.warmup_start_lr = warmup_start_lr if warmup_start_lr >= 0 else init_lr
        self.decay_rate = 1.0 if decay_rate is None else decay_rate

    def lr_at(self, cur_epoch: int, cur_step: int) -> float:
        """The rate of iteration ``cur_step`` of epoch ``cur_epoch`` (both from 0)."""
        total = cur_epoch * self.iters_per_epoch + cur_step
        if total < self.warmup_steps:
            return warmup_lr(
                total,
                warmup_steps=self.warmup_steps,
                start_lr=self.warmup_start_lr,
                init_lr=self.init_lr,
            )
        return self._after_warmup(cur_epoch, total)

    def step(self, cur_epoch: int, cur_step: int) -> float:
        """Set the rate of every group for one iteration.

        Returns:
            The rate before any group's ``lr_scale``.
        """
        lr = self.lr_at(cur_epoch, cur_step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group.get("lr_scale", 1.0)
        return lr

    def _after_warmup(self, epoch: int, total: int) -> float:
        raise NotImplementedError


@registry.register_lr_scheduler("linear_warmup_cosine_lr")
class LinearWarmupCosineLRScheduler(_LinearWarmupScheduler):
    """Linear warm-up, then the cosine over the whole run (warm-up's iterations included)."""

    def _after_warmup(self, epoch: int, total: int) -> float:
        return cosine_lr(
            total,
            total_steps=self.max_epoch * self.iters_per_epoch,
            init_lr=self.init_lr,
            min_lr=self.min_lr,
        )


@registry.register_lr_scheduler("linear_warmup_step_lr")
class LinearWarmupStepLRScheduler(_LinearWarmupScheduler):
    """Linear warm-up, then a fixed factor per epoch."""

    def _after_warmup(self, epoch: int, total: int) -> float:
        return step_lr(epoch, init_lr=self.init_lr, min_lr=self.min_lr, decay_rate=self.decay_rate)


def build_schedule(optimizer: Optimizer, run: RunSettings, *, iters_per_epoch: int) -> Schedule:
    """The schedule that ``run.lr_sched`` names.

    Raises:
        ConfigError: No schedule has that name.
    """
    schedule: Schedule = registry.get_lr_scheduler_class(run.lr_sched)(
        optimizer=optimizer,
        max_epoch=run.max_epoch,
        iters_per_epoch=iters_per_epoch,
        min_lr=run.min_lr,
        init_lr=run.init_lr,
        warmup_steps=run.warmup_steps,
        warmup_start_lr=run.warmup_lr,
        decay_rate=run.lr_decay_rate,
    )
    return schedule


def parameter_groups(
    model: nn.Module, *, weight_decay: float, lr_scale: dict[str, float] | None = None
) -> list[dict[str, Any]]:
    """Trainable parameters in groups: matrices (decayed) first, then biases and norms (not).

    Args:
        model: Whose parameters with ``requires_grad`` are taken, in the order of their names.
        weight_decay: Decay of parameters with two or more dimensions.
        lr_scale: Part of a parameter's name to a factor on its learning rate; the longest part
            that occurs decides.
    Returns:
        Groups for ``torch.optim``, each with ``params``, ``weight_decay`` and ``lr_scale``.
    Raises:
        ConfigError: Nothing is trainable, or a part of ``lr_scale`` is in no trainable name.
    """
    factors = lr_scale or {}
    unused = set(factors)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        parts = [part for part in factors if part in name]
        unused.difference_update(parts)
        factor = factors[max(parts, key=len)] if parts else 1.0
        groups.setdefault((factor, parameter.ndim < 2), []).append(parameter)
    if not groups:
        raise ConfigError(
            "Nothing is left to train: set model.lora_r above 0, model.freeze_llm: False or "
            "model.freeze_vit: False."
        )
    if unused:
        raise ConfigError(
            f"run.lr_scale names {', '.join(sorted(unused))}, which is part of no trained "
            "parameter's name (llama_proj, lora_A, visual_encoder, ... are)."
        )
    # The plain factor comes first and matrices before vectors: the order of original checkpoints.
    ordered = sorted(groups, key=lambda key: (key[0] != 1.0, key[0], key[1]))
    return [
        {
            "params": groups[factor, vector],
            "weight_decay": 0.0 if vector else weight_decay,
            "lr_scale": factor,
        }
        for factor, vector in ordered
    ]


def build_optimizer(model: nn.Module, run: RunSettings) -> AdamW:
    """AdamW over ``parameter_groups``, in its fused form where the device has one."""
    groups = parameter_groups(model, weight_decay=run.weight_decay, lr_scale=run.lr_scale)
    devices = {p.device.type for group in groups for p in group["params"]}
    return AdamW(
        groups,
        lr=run.init_lr,
        betas=(0.9, run.beta2),
        weight_decay=run.weight_decay,
        fused=devices <= {"cuda", "cpu"} and len(devices) == 1,
    )


def load_optimizer_state(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Restore moments and step counts; rates, decay and betas stay as the settings say.

    Args:
        optimizer: Built from the same trainable parameters.
        saved: ``state_dict()`` of such an optimizer, the original's included.
    Raises:
        ConfigError: The groups or their tensors do not fit.
    """
    current = optimizer.state_dict()
    sizes = [len(group["params"]) for group in current["param_groups"]]
    saved_sizes = [len(group["params"]) for group in saved["param_groups"]]
    if sizes != saved_sizes:
        raise ConfigError(
            f"The checkpoint's optimizer holds groups of {saved_sizes} tensors, this run trains "
            f"{sizes}: resume with the settings the run began with (lora_*, freeze_*, lr_scale)."
        )
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, state in saved["state"].items():
        moment = state["exp_avg"]
        if moment.shape != parameters[index].shape:
            raise ConfigError(
                f"The checkpoint's optimizer holds a tensor of shape {tuple(moment.shape)} where "
                f"this run trains {tuple(parameters[index].shape)}: resume with the settings the "
                "run began with (lora_*, freeze_*)."
            )
    # Moments follow their parameter's device on load; a copy keeps the caller's dict untouched.
    state = {
        index: {
            key: value.clone() if isinstance(value, torch.Tensor) else value
            for key, value in entry.items()
        }
        for index, entry in saved["state"].items()
    }
    optimizer.load_state_dict({"state": state, "param_groups": current["param_groups"]})

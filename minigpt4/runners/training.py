"""One training run from a configuration: check everything cheap first, then build, then train."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minigpt4.common.checkpoint import component_of
from minigpt4.common.distributed import is_main
from minigpt4.common.registry import registry
from minigpt4.common.settings import RunSettings
from minigpt4.models.precision import Precision
from minigpt4.runners.checkpointing import position_of
from minigpt4.runners.features import cache_features, fit_statistics
from minigpt4.runners.plan.pace import announce_pace
from minigpt4.runners.records import check_log_packages
from minigpt4.runners.resume import take_over, warn_of_differences
from minigpt4.runners.run_folder import check_disk_space, create_run_folder, write_run_files
from minigpt4.runners.runner_base import TrainResult
from minigpt4.runners.setup import open_run

if TYPE_CHECKING:
    from accelerate import Accelerator

    from minigpt4.common.config import Config
    from minigpt4.tasks.base import TrainingData

logger = logging.getLogger(__name__)

_FP32 = 4
_TENSORS_KEPT = 3
"""Of each trained parameter a checkpoint holds the value and AdamW's two moments."""


def run_training(cfg: Config) -> TrainResult:
    """Train as a configuration says; what ``train.py`` does.

    Raises:
        UserError: Anything wrong with settings, data, weights, devices or disk; as far as possible
            before the model is loaded.
        KeyboardInterrupt: After Ctrl-C or SIGTERM, when the state is saved.
    """
    from minigpt4.runners.plan.command import check_memory  # imports models

    check_log_packages(cfg.run())
    setup = open_run(cfg)
    run, task, data, accelerator = setup.run, setup.task, setup.data, setup.accelerator
    splits, checkpoint = [*setup.valid, *setup.test], setup.checkpoint
    check_memory(cfg, setup)
    folder = _make_folder(run, accelerator)
    config = cfg.to_dict()
    if accelerator.is_main_process:
        write_run_files(folder, config)

    model = task.build_model(cfg, accelerator.device)
    if checkpoint is not None:
        _resume(run, model, checkpoint, config, folder, data)
    runner = registry.get_runner_class(run.runner)(
        run=run,
        config=config,
        task=task,
        model=model,
        data=announce_pace(data, run, accelerator.device),
        folder=folder,
        accelerator=accelerator,
        checkpoint=checkpoint,
    )
    _check_space(run, model, folder, checkpoint)
    _announce(run, model, data, accelerator, setup.precision, folder)
    if run.feature_cache != "off":
        cache_features(run, model, [*setup.train, *splits])
    fit_statistics(model, setup.train)
    try:
        if run.evaluate:
            runner.test(task.evaluation_data(run, splits, **setup.share))
        else:
            runner.train()
            if setup.test:
                best = runner.result.best_checkpoint
                runner.test(task.evaluation_data(run, setup.test, **setup.share), weights=best)
    finally:
        runner.close()
    accelerator.end_training()
    result: TrainResult = runner.result
    return result


def _resume(
    run: RunSettings,
    model: Any,
    checkpoint: dict[str, Any],
    config: dict[str, Any],
    folder: Path,
    data: TrainingData,
) -> None:
    path = Path(str(run.resume_ckpt_path)).expanduser()
    position = position_of(checkpoint)
    model.load_checkpoint(str(path))
    if is_main():
        warn_of_differences(checkpoint, config)
        take_over(path, folder, position, iters_per_epoch=data.iters_per_epoch)
    logger.info("going on in epoch %d at iteration %d", position.epoch, position.step)


def _make_folder(run: RunSettings, accelerator: Accelerator) -> Path:
    from accelerate.utils import broadcast_object_list

    made: list[Any] = [None]
    if accelerator.is_main_process:
        made = [str(create_run_folder(run.output_dir))]
    return Path(broadcast_object_list(made)[0])


def _check_space(
    run: RunSettings, model: Any, folder: Path, checkpoint: dict[str, Any] | None
) -> None:
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    done = 0 if checkpoint is None else position_of(checkpoint).epoch
    check_disk_space(
        folder,
        checkpoint_bytes=trained * _FP32 * _TENSORS_KEPT,
        checkpoints=max(run.max_epoch - done, 0),
    )


def _announce(
    run: RunSettings,
    model: Any,
    data: TrainingData,
    accelerator: Accelerator,
    precision: Precision,
    folder: Path,
) -> None:
    trained: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            trained[component_of(name)] += parameter.numel()
    total = sum(p.numel() for p in model.parameters())
    parts = ", ".join(f"{name} {count:,}" for name, count in trained.items())
    effective = data.batch_size * run.accum_grad_iters * accelerator.num_processes
    logger.info("run folder: %s", folder)
    logger.info(
        "training %s of %s parameters (%s)", f"{sum(trained.values()):,}", f"{total:,}", parts
    )
    logger.info(
        "%d epochs of %d iterations, batch %d, effective batch %d (%d accumulated, %d processes), "
        "%s, precision %s (%s)",
        run.max_epoch,
        data.iters_per_epoch,
        data.batch_size,
        effective,
        run.accum_grad_iters,
        accelerator.num_processes,
        accelerator.device,
        "fp32" if precision.mixed == "no" else precision.mixed,
        precision.reason,
    )

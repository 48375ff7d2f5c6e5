"""One training run from a configuration: check everything cheap first, then build, then train."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minigpt4.common.checkpoint import component_of
from minigpt4.common.device import check_device
from minigpt4.common.distributed import is_main
from minigpt4.common.errors import ConfigError, WeightsError
from minigpt4.common.registry import registry
from minigpt4.common.settings import ModelSettings, RunSettings
from minigpt4.runners.checkpointing import position_of, read_checkpoint
from minigpt4.runners.device import Precision, build_accelerator
from minigpt4.runners.features import cache_features, fit_statistics
from minigpt4.runners.records import check_log_packages
from minigpt4.runners.resume import take_over, warn_of_differences
from minigpt4.runners.rng import seed_everything
from minigpt4.runners.run_folder import check_disk_space, create_run_folder, write_run_files
from minigpt4.runners.runner_base import TrainResult

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
    run = cfg.run()
    _check_settings(run)
    check_log_packages(run)
    check_device(run.device)
    _check_weights(cfg.model())
    checkpoint = _checkpoint_to_resume(run)
    seed_everything(run.seed)
    task = registry.get_task_class(run.task)()
    train = task.build_datasets(cfg, run.train_splits)
    valid = task.build_datasets(cfg, run.valid_splits) if run.valid_splits else []
    test = task.build_datasets(cfg, run.test_splits) if run.test_splits else []
    accelerator, precision = build_accelerator(run)
    share: dict[str, Any] = {
        "rank": accelerator.process_index,
        "world_size": accelerator.num_processes,
        "pin_memory": accelerator.device.type == "cuda",
    }
    data = task.training_data(run, train, valid, **share)
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
        data=data,
        folder=folder,
        accelerator=accelerator,
        checkpoint=checkpoint,
    )
    _check_space(run, model, folder, checkpoint)
    _announce(run, model, data, accelerator, precision, folder)
    if run.feature_cache != "off":
        cache_features(run, model, [*train, *valid, *test])
    fit_statistics(model, train)
    try:
        if run.evaluate:
            runner.test(task.evaluation_data(run, [*valid, *test], **share))
        else:
            runner.train()
            if test:
                best = runner.result.best_checkpoint
                runner.test(task.evaluation_data(run, test, **share), weights=best)
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


def _check_settings(run: RunSettings) -> None:
    if run.evaluate and not [*run.valid_splits, *run.test_splits]:
        raise ConfigError(
            "run.evaluate is True but run.valid_splits and run.test_splits are empty: name a split "
            "there, or use eval_vivqa.py or eval_mvtec.py."
        )
    if not run.train_splits:
        raise ConfigError("run.train_splits is empty: name at least one split to train on.")


def _checkpoint_to_resume(run: RunSettings) -> dict[str, Any] | None:
    if not run.resume_ckpt_path:
        return None
    checkpoint = read_checkpoint(run.resume_ckpt_path)
    done = position_of(checkpoint).epoch
    if done >= run.max_epoch and not run.evaluate:
        raise ConfigError(
            f"{run.resume_ckpt_path} comes after {done} epochs and run.max_epoch is "
            f"{run.max_epoch}, so nothing is left to train: raise run.max_epoch to go on."
        )
    return checkpoint


def _check_weights(model: ModelSettings) -> None:
    """Find files that are missing before anything large is loaded."""
    if model.ckpt and not Path(model.ckpt).expanduser().is_file():
        raise WeightsError(
            f"The checkpoint {model.ckpt} (model.ckpt) does not exist: download it (see "
            "ckpt/README.md), correct the path, or start without one with --options model.ckpt=''."
        )
    llama = model.llama_model
    if llama.startswith(("/", "./", "../", "~")) and not Path(llama).expanduser().exists():
        raise WeightsError(
            f"The language model {llama} (model.llama_model) does not exist: correct the path, or "
            "name a model of the Hugging Face hub."
        )


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

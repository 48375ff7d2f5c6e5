"""What a run needs before its model: settings checked, data opened, the device found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minigpt4.common.device import check_device
from minigpt4.common.errors import ConfigError, WeightsError
from minigpt4.common.registry import registry
from minigpt4.common.settings import ModelSettings, RunSettings
from minigpt4.models.precision import Precision
from minigpt4.runners.checkpointing import position_of, read_checkpoint
from minigpt4.runners.device import build_accelerator
from minigpt4.runners.rng import seed_everything

if TYPE_CHECKING:
    from accelerate import Accelerator

    from minigpt4.common.config import Config
    from minigpt4.tasks.base import TrainingData
    from minigpt4.tasks.image_text_pretrain import ImageTextPretrainTask, Split


@dataclass(kw_only=True)
class Setup:
    """A run that is ready for its model.

    Attributes:
        run: Section ``run``.
        task: Builds the model, gives losses.
        train, valid, test: Opened splits.
        data: Batches of the run.
        accelerator: Device, precision and processes.
        precision: What the forward pass computes in.
        checkpoint: Training state to go on from, if any.
        share: This process's share of the data, for the task's methods.
    """

    run: RunSettings
    task: ImageTextPretrainTask
    train: list[Split]
    valid: list[Split]
    test: list[Split]
    data: TrainingData
    accelerator: Accelerator
    precision: Precision
    checkpoint: dict[str, Any] | None
    share: dict[str, Any]


def open_run(cfg: Config) -> Setup:
    """Check what is cheap to check, then open the data of a run.

    Raises:
        UserError: Anything wrong with settings, data, the device, or files that are missing.
    """
    run = cfg.run()
    check_settings(run)
    check_device(run.device)
    check_weights(cfg.model())
    checkpoint = _checkpoint_to_resume(run)
    seed_everything(run.seed)
    task = registry.get_task_class(run.task)()
    train, valid, test = (
        task.build_datasets(cfg, splits, fetch=True) if splits else []
        for splits in (run.train_splits, run.valid_splits, run.test_splits)
    )
    accelerator, precision = build_accelerator(run)
    share: dict[str, Any] = {
        "rank": accelerator.process_index,
        "world_size": accelerator.num_processes,
        "pin_memory": accelerator.device.type == "cuda",
    }
    return Setup(
        run=run,
        task=task,
        train=train,
        valid=valid,
        test=test,
        data=task.training_data(run, train, valid, **share),
        accelerator=accelerator,
        precision=precision,
        checkpoint=checkpoint,
        share=share,
    )


def check_settings(run: RunSettings) -> None:
    """Find settings that leave nothing to do.

    Raises:
        ConfigError: There are such.
    """
    if run.evaluate and not [*run.valid_splits, *run.test_splits]:
        raise ConfigError(
            "run.evaluate is True but run.valid_splits and run.test_splits are empty: name a split "
            "there, or use eval_vivqa.py or eval_mvtec.py."
        )
    if not run.train_splits:
        raise ConfigError("run.train_splits is empty: name at least one split to train on.")


def check_weights(model: ModelSettings) -> None:
    """Find files that are missing before anything large is loaded.

    Raises:
        WeightsError: A checkpoint or a folder that is named does not exist.
    """
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

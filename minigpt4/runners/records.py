"""Where a run's numbers go: ``log.txt``, and TensorBoard or W&B when asked."""

from __future__ import annotations

import importlib
import json
import logging
from pathlib import Path
from types import ModuleType
from typing import Any

from minigpt4.common.errors import ConfigError
from minigpt4.common.logger import warn_once
from minigpt4.common.settings import RunSettings
from minigpt4.runners.checkpointing import is_disk_full

logger = logging.getLogger(__name__)


class RunRecords:
    """Appends one JSON object a line to ``log.txt`` and passes its numbers on.

    Every line has ``kind`` (``start``, ``train``, ``epoch``, ``valid``, ``end`` ...), ``epoch`` and
    ``step``, the latter counting iterations over the whole run.
    """

    def __init__(self, folder: Path, run: RunSettings, config: dict[str, Any]) -> None:
        self.path = folder / "log.txt"
        self._tensorboard: Any = None
        self._wandb: Any = None
        if run.tensorboard_log:
            module = _optional("torch.utils.tensorboard", "tensorboard", "tensorboard_log")
            self._tensorboard = module.SummaryWriter(str(folder / "tensorboard"))
        if run.wandb_log:
            module = _optional("wandb", "wandb", "wandb_log")
            self._wandb = module.init(
                project="minigpt4", name=f"{run.job_name}-{folder.name}", config=config
            )

    def write(self, kind: str, *, epoch: int, step: int, **values: Any) -> None:
        """Append one line, and log its numbers under ``<kind>/<name>``."""
        line = json.dumps(
            {"kind": kind, "epoch": epoch, "step": step, **values}, ensure_ascii=False
        )
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            if not is_disk_full(error):
                raise
            # A lost line is no reason to lose the steps since the last checkpoint.
            warn_once(logger, f"the disk is full: {self.path} is no longer complete")
        numbers = {
            f"{kind}/{name}": value
            for name, value in values.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        if self._tensorboard is not None:
            for name, value in numbers.items():
                self._tensorboard.add_scalar(name, value, step)
        if self._wandb is not None and numbers:
            self._wandb.log(numbers, step=step)

    def close(self) -> None:
        """Flush and close what was opened."""
        if self._tensorboard is not None:
            self._tensorboard.close()
        if self._wandb is not None:
            self._wandb.finish()


def check_log_packages(run: RunSettings) -> None:
    """Import what ``run`` asks to log to, before any long work.

    Raises:
        ConfigError: A package is missing.
    """
    if run.tensorboard_log:
        _optional("torch.utils.tensorboard", "tensorboard", "tensorboard_log")
    if run.wandb_log:
        _optional("wandb", "wandb", "wandb_log")


def read_records(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a ``log.txt``."""
    lines = path.read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def _optional(module: str, package: str, key: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ConfigError(
            f"run.{key} is on, but the package {package} is missing: pip install {package}, or "
            f"set run.{key}=False."
        ) from None

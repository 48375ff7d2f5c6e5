"""A run's checkpoint files: written whole or not at all, and where in the run they stand."""

from __future__ import annotations

import contextlib
import errno
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import minigpt4
from minigpt4.common.checkpoint import load_checkpoint_file
from minigpt4.common.errors import ResourceError, TrainingError, WeightsError
from minigpt4.common.files import save_atomic

INTERRUPTED = "checkpoint_interrupted.pth"
BEST = "checkpoint_best.pth"

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_disk_full(error: OSError) -> bool:
    """Whether a write failed for want of space."""
    return error.errno in _FULL


@dataclass(kw_only=True)
class Position:
    """Where in a run a checkpoint was taken.

    Attributes:
        epoch: Epoch to go on in.
        step: Iterations of that epoch already done.
        best: The best validation so far, ``{"epoch", "score"}``, or None.
        meter: Sums of the losses of that epoch so far.
        rng: Generator states, one a process; empty when the file has none (the original's).
    """

    epoch: int = 0
    step: int = 0
    best: dict[str, Any] | None = None
    meter: list[float] = field(default_factory=list)
    rng: list[dict[str, Any]] = field(default_factory=list)

    def meta(self, *, git: str | None, rng: list[dict[str, Any]]) -> dict[str, Any]:
        """What a checkpoint says of itself; inference reads ``prompt_style`` from it."""
        return {
            "version": minigpt4.__version__,
            "git": git,
            "prompt_style": "training",
            "step": self.step,
            "best": self.best,
            "meter": self.meter,
            "rng": rng,
        }


def position_of(checkpoint: dict[str, Any]) -> Position:
    """Where to go on; a checkpoint without ``meta`` goes on at the next epoch's start."""
    meta = checkpoint.get("meta") or {}
    return Position(
        epoch=int(checkpoint["epoch"]) + 1,
        step=int(meta.get("step", 0)),
        best=meta.get("best"),
        meter=meta.get("meter", []),
        rng=meta.get("rng", []),
    )


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read the training state in a checkpoint of ours or of the original.

    Raises:
        WeightsError: The file is missing, broken, or holds no training state.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise WeightsError(
            f"There is no checkpoint {path}: run.resume_ckpt_path must name a "
            "checkpoint_<epoch>.pth or checkpoint_interrupted.pth of an earlier run."
        )
    content = load_checkpoint_file(path)
    missing = [key for key in ("optimizer", "epoch") if key not in content.extra]
    if missing:
        raise WeightsError(
            f"{path} holds no {' and no '.join(missing)}, so a run cannot go on from it; to start "
            "a new run from its weights use model.ckpt instead of run.resume_ckpt_path."
        )
    return {"model": content.model, **content.extra}


def save_training_state(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint; whatever stood at ``path`` stays until the new file is complete.

    When the disk is full, the state goes to the temporary folder if that is on another one.

    Raises:
        ResourceError: The disk is full; the message says where the state is.
        OSError: Anything else that keeps the file from being written.
    """
    try:
        _write(path, content)
        return
    except OSError as error:
        if not is_disk_full(error):
            raise
        full = error
    rescue = Path(tempfile.gettempdir()) / f"{path.parent.name}_{path.name}"
    advice = "the checkpoints written before are complete; free some space and go on from the last"
    resume = "FILE"
    if rescue.parent.stat().st_dev != path.parent.stat().st_dev:
        with contextlib.suppress(OSError):
            _write(rescue, content)
            advice = "the state was saved elsewhere; free some space and go on from there"
            resume = str(rescue)
    raise ResourceError(
        f"The disk is full, so {path} could not be written: {advice} with --options "
        f"run.resume_ckpt_path={resume}."
    ) from full


def _write(path: Path, content: dict[str, Any]) -> None:
    def write(target: Path) -> None:
        with target.open("wb") as raw:
            file: Any = _Recorder(raw)
            try:
                torch.save(content, file)
            except RuntimeError as error:
                # PyTorch's writer hides why a write failed behind an error of its own.
                raise (file.error or error) from None

    save_atomic(path, write)


def duplicate(source: Path, target: Path) -> None:
    """Let ``target`` hold what ``source`` holds, without taking space where links can be made."""
    partial = target.with_name(target.name + ".tmp")
    partial.unlink(missing_ok=True)
    try:
        partial.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, partial)
    partial.replace(target)


def check_finite(weights: dict[str, Tensor]) -> None:
    """Refuse to save weights that are of no use.

    Raises:
        TrainingError: Names the first tensor with a value that is not finite.
    """
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise TrainingError(
                f"{name} holds values that are not finite after the last step, so nothing was "
                "saved: lower run.init_lr or set run.max_grad_norm=1, and go on from the last "
                "checkpoint."
            )


class _Recorder:
    """A binary file that remembers the error of a failed write."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return int(self._raw.write(data))
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._raw.flush()

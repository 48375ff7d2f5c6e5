"""The folder of one run: its name, what is written into it before the first step, its space."""

from __future__ import annotations

import errno
import importlib.metadata
import itertools
import json
import platform
import shlex
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import minigpt4
from minigpt4.common.errors import ResourceError

_PACKAGES = (
    "torch",
    "torchvision",
    "transformers",
    "peft",
    "accelerate",
    "bitsandbytes",
    "timm",
    "numpy",
)


def output_root(output_dir: str) -> Path:
    """``run.output_dir`` as a path: below the package, or as it is when absolute."""
    path = Path(output_dir).expanduser()
    return path if path.is_absolute() else Path(minigpt4.__file__).parent / path


def create_run_folder(output_dir: str, *, now: datetime | None = None) -> Path:
    """Make ``<output_dir>/<YYYYMMDDHHMM...>``, a folder that no other run has or gets.

    Raises:
        ResourceError: The folder cannot be made or written to.
    """
    root = output_root(output_dir)
    stamp = (now or datetime.now()).strftime("%Y%m%d%H%M")
    try:
        root.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            folder = root / (stamp if number == 1 else f"{stamp}_{number}")
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            break
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ResourceError(
            f"The output folder {root} cannot be written ({error.strerror}): choose another with "
            "--options run.output_dir=DIR."
        ) from None
    return folder


def check_disk_space(folder: Path, *, checkpoint_bytes: int, checkpoints: int) -> None:
    """Refuse to start a run whose checkpoints will not fit.

    Args:
        folder: Where they go.
        checkpoint_bytes: Estimate of one.
        checkpoints: How many the run writes.
    Raises:
        ResourceError: Less is free than they need.
    """
    # One more than the run keeps: a new file stands beside the one it replaces.
    needed = checkpoint_bytes * (checkpoints + 1)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ResourceError(
            f"{checkpoints} checkpoints need about {_size(needed)}, but only {_size(free)} are "
            f"free at {folder}: free some space, or choose another folder with "
            "--options run.output_dir=DIR."
        )


def git_revision() -> str | None:
    """The commit of the checkout this package runs from, ``-dirty`` added when it differs."""
    root = Path(minigpt4.__file__).parent
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def environment() -> dict[str, Any]:
    """Versions, machine, commit and command: what it takes to do this run again."""
    import torch

    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "version": minigpt4.__version__,
        "git": git_revision(),
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "gpu": gpu,
        "threads": torch.get_num_threads(),
        "packages": versions,
    }


def write_run_files(folder: Path, config: dict[str, Any]) -> None:
    """Write ``config.yaml`` (resolved) and ``environment.json`` beside the checkpoints."""
    from omegaconf import OmegaConf

    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config)), "utf-8")
    text = json.dumps(environment(), ensure_ascii=False, indent=2)
    (folder / "environment.json").write_text(text + "\n", "utf-8")


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"

"""Fine-tuning on both tasks: one after the other, or side by side where that is quicker.

The small model's products do not fill several cores, so that two trainings on half of the cores
each are done sooner than both in turn on all of them.
"""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch

from minigpt4.common.errors import INTERRUPTED, ResourceError, UserError
from minigpt4.common.logger import progress
from minigpt4.quickstart.settings import MVTEC, VIVQA, QuickSettings, QuickTask
from minigpt4.runners import run_training
from minigpt4.runners.records import read_records

logger = logging.getLogger(__name__)

_LEAST_SCALE = 0.5
"""Shorter runs are done before a second process has started."""
_MEMORY = 3 * 1024**3
"""Free bytes from which on two trainings are sure to fit."""
_POLL, _GRACE = 0.5, 5.0


@dataclass(frozen=True, slots=True)
class Trained:
    """What a fine-tuning left.

    Attributes:
        checkpoint: The last one.
        log: ``log.txt`` of the run.
    """

    checkpoint: Path
    log: Path


def pays_side_by_side(settings: QuickSettings) -> bool:
    """Whether there are cores and memory for two trainings, and enough to do."""
    import psutil

    enough = psutil.virtual_memory().available >= _MEMORY
    return enough and torch.get_num_threads() > 1 and settings.scale >= _LEAST_SCALE


def fine_tune(settings: QuickSettings, task: QuickTask) -> Trained:
    """Fine-tune on one task in this process."""
    result = run_training(settings.train_config(task))
    assert result.last_checkpoint is not None
    return Trained(result.last_checkpoint, result.log)


def fine_tune_side_by_side(settings: QuickSettings) -> dict[str, Trained]:
    """Fine-tune on questions here and on defects in a process beside it; by task key.

    Raises:
        UserError: As ``run_training``, of either.
    """
    cores = torch.get_num_threads()
    share = cores // 2
    with closing(Beside(settings, MVTEC, threads=share)) as other:
        torch.set_num_threads(cores - share)
        try:
            first = fine_tune(settings, VIVQA)
        finally:
            torch.set_num_threads(cores)
        return {VIVQA.key: first, MVTEC.key: other.wait()}


class Beside:
    """``train.py`` on one task in a process of its own, to be closed.

    Args:
        settings: Places and length of the run.
        task: What it trains on.
        threads: Its share of the cores.
    """

    def __init__(self, settings: QuickSettings, task: QuickTask, *, threads: int) -> None:
        self._task = task
        self._steps = settings.train_config(task).run().iters_per_epoch
        self._runs = settings.run_folder(task)
        self._runs.mkdir(parents=True, exist_ok=True)
        self._before = set(self._runs.iterdir())
        self._printed = self._runs.with_suffix(".txt")
        options = [f"{key}={value}" for key, value in settings.train_options(task).items()]
        command = ["train.py", "--cfg-path", str(task.train_config), "--options", *options]
        logger.info(
            "%s: beside it, on %d of %d threads; its output goes to %s",
            task.title, threads, torch.get_num_threads(), self._printed,
        )  # fmt: skip
        count = str(threads)
        with self._printed.open("w", encoding="utf-8") as file:
            file.write(f"python {shlex.join(command)}\n")
            file.flush()
            self._process = subprocess.Popen(
                [sys.executable, *command],
                env={**os.environ, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def close(self) -> None:
        """End it where it still runs; it saves its state before."""
        if self._process.poll() is not None:
            return
        try:
            self._process.wait(_GRACE)  # Ctrl-C reaches it too, and it saves its state
        except subprocess.TimeoutExpired:
            self._process.terminate()
            self._process.wait()

    def wait(self) -> Trained:
        """Show how far it is until it is done.

        Raises:
            UserError: It failed, for the reason that it gave.
            KeyboardInterrupt: It was interrupted.
        """
        with progress(total=self._steps, desc=self._task.title) as bar:
            while self._process.poll() is None:
                bar.update(self._done() - bar.n)
                time.sleep(_POLL)
            bar.update(self._done() - bar.n)
        self._check(self._process.returncode)
        (folder,) = set(self._runs.iterdir()) - self._before
        newest = max(folder.glob("checkpoint_*.pth"), key=lambda path: path.stat().st_mtime)
        return Trained(newest, folder / "log.txt")

    def _done(self) -> int:
        logs = [folder / "log.txt" for folder in set(self._runs.iterdir()) - self._before]
        steps = [r["step"] for log in logs if log.is_file() for r in read_records(log)]
        return max(steps, default=0)

    def _check(self, code: int) -> None:
        if code == 0:
            return
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if code < 0:
            raise ResourceError(
                f"Fine-tuning on {self._task.name} was ended from outside (signal {-code}), as "
                f"happens when memory runs out; its output is in {self._printed}."
            )
        lines = self._printed.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        said = lines[-1].removeprefix("error: ") if lines else f"exit code {code}"
        kinds = {kind.exit_code: kind for kind in UserError.__subclasses__()}
        raise kinds.get(code, UserError)(
            f"Fine-tuning on {self._task.name} failed: {said} (all of its output: {self._printed})"
        )

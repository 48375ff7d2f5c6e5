"""What a resumed run takes over from the one before, and where the two differ."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from minigpt4.runners.checkpointing import BEST, Position, duplicate
from minigpt4.runners.records import read_records

logger = logging.getLogger(__name__)

_FREE = {
    "model.ckpt", "run.resume_ckpt_path", "run.output_dir", "run.save_path", "run.num_workers",
    "run.log_freq", "run.job_name", "run.name", "run.device", "run.gpu", "run.feature_cache",
    "run.feature_cache_gb", "run.tensorboard_log", "run.wandb_log", "run.evaluate",
    "run.test_splits",
}  # fmt: skip
"""Keys that may change without making it another run."""
_SHOWN = 8


def warn_of_differences(checkpoint: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Say which settings are not those that the checkpoint was trained with."""
    if "meta" not in checkpoint:
        return  # the original's files spell their settings otherwise
    before = dict(_flat(checkpoint.get("config") or {}))
    now = dict(_flat(config))
    changed = [
        f"{key} {before.get(key)!r} -> {now.get(key)!r}"
        for key in sorted(before.keys() | now.keys())
        if key not in _FREE
        and not key.startswith("evaluation_datasets.")
        and before.get(key) != now.get(key)
    ]
    if changed:
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        logger.warning(
            "this run does not go on exactly as it began; changed: %s%s",
            ", ".join(changed[:_SHOWN]),
            more,
        )


def take_over(checkpoint: Path, folder: Path, position: Position, *, iters_per_epoch: int) -> None:
    """Copy the earlier run's log up to where it goes on, and its best checkpoint.

    Args:
        checkpoint: The file resumed from.
        folder: The new run's folder.
        position: Where the new run begins.
        iters_per_epoch: Iterations of an epoch.
    """
    log = checkpoint.parent / "log.txt"
    if log.is_file():
        done = position.epoch * iters_per_epoch + position.step
        lines = [
            json.dumps(record, ensure_ascii=False) + "\n"
            for record in read_records(log)
            if record["step"] <= done
        ]
        (folder / "log.txt").write_text("".join(lines), "utf-8")
    if position.best is not None:
        best = checkpoint.parent / f"checkpoint_{position.best['epoch']}.pth"
        if best.is_file():
            duplicate(best, folder / BEST)
        else:
            logger.warning("%s is gone: a new best is kept only if it beats it", best)


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value

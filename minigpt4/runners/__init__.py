"""The training loop and everything a run writes."""

from __future__ import annotations

from minigpt4.runners.runner_base import RunnerBase, TrainResult
from minigpt4.runners.training import run_training

__all__ = ["RunnerBase", "TrainResult", "run_training"]

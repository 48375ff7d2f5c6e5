"""Several fine-tunings of one model in one process: each task answers with its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from minigpt4.common.errors import ConfigError
from minigpt4.conversation.prompts import TAGS


@dataclass(frozen=True, slots=True)
class _Weights:
    """What one checkpoint changed in the model: its trained parts, and what is known of it."""

    state: dict[str, Tensor]
    report: Any


class TaskWeights:
    """Puts the weights of a task into the model, from copies in memory.

    Args:
        model: The model, with the checkpoint loaded that tasks without one of their own use.
        checkpoints: Task, with or without brackets, to checkpoint; each needs memory for its
            trained parts only.
    Raises:
        ConfigError: There is no such task, or the encoder is not the same for all.
        WeightsError: A checkpoint is missing or does not fit.
    """

    def __init__(self, model: Any, checkpoints: Mapping[str, str] | None = None) -> None:
        self._model = model
        self._by_tag: dict[str, _Weights] = {}
        if not checkpoints:
            return
        if not model.settings.freeze_vit:
            raise ConfigError(
                "model.task_ckpt needs model.freeze_vit: True, for a picture is encoded once for "
                "all tasks."
            )
        self._base = self._current = self._snapshot()
        for task, path in checkpoints.items():
            tag = f"[{task.strip('[]')}]"
            if tag not in TAGS:
                raise ConfigError(
                    f"model.task_ckpt names the task {task!r}; known: "
                    f"{', '.join(each.strip('[]') for each in TAGS)}."
                )
            self._put(self._base)
            model.load_checkpoint(path)
            self._by_tag[tag] = self._current = self._snapshot()
        self.use(None)

    def use(self, tag: str | None) -> None:
        """Make the model answer with the weights of a task."""
        if not self._by_tag:
            return
        wanted = self._by_tag.get(tag or "", self._base)
        if wanted is not self._current:
            self._put(wanted)
            self._current = wanted

    def _snapshot(self) -> _Weights:
        state = self._model.trainable_state_dict()
        copies = {name: value.detach().clone() for name, value in state.items()}
        return _Weights(copies, self._model.load_report)

    @torch.no_grad()
    def _put(self, weights: _Weights) -> None:
        self._model.load_state_dict(weights.state, strict=False)
        self._model.load_report = weights.report

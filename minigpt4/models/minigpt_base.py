"""What every model of the family offers: loss, answers, ranking, and checkpoints."""

from __future__ import annotations

import logging
from dataclasses import fields
from typing import Any, Self

import torch
from torch import Tensor

from minigpt4.common.checkpoint import (
    LoadReport,
    is_derived,
    load_checkpoint_file,
    match_weights,
)
from minigpt4.common.settings import ModelSettings
from minigpt4.conversation.prompts import PromptStyle
from minigpt4.models.fit import refuse_unfit
from minigpt4.models.minigpt_answers import MiniGPTAnswers

logger = logging.getLogger(__name__)

FITTED_BUFFERS = ("visual_encoder.feature_mean", "visual_encoder.feature_std")
"""Buffers that a checkpoint holds besides what trains."""
_ENCODER = "visual_encoder."


class MiniGPTBase(MiniGPTAnswers):
    """A model that trains, answers, ranks candidates, and saves and loads what it learned.

    Args:
        settings: Section ``model``; its ``ckpt`` is loaded.
        device: Where to run; None: CUDA when there is one.

    Attributes:
        load_report: What the last checkpoint brought; None before one was loaded.
    """

    def __init__(self, settings: ModelSettings, device: torch.device | None = None) -> None:
        super().__init__(settings, device)
        self.load_report: LoadReport | None = None
        if settings.ckpt:
            self.load_checkpoint(settings.ckpt)
        if settings.freeze_vit:
            self.visual_encoder.optimize_frozen()

    @classmethod
    def from_config(cls, cfg: Any, device: torch.device | None = None) -> Self:
        """Build from ``Config.model_cfg``, a mapping, or ``ModelSettings``."""
        return cls(model_settings(cfg), device)

    @property
    def prompt_style(self) -> PromptStyle:
        """How inference builds prompts: as set, or as the loaded checkpoint was evaluated."""
        style = self.settings.prompt_style
        if style is not None:
            return "original" if style == "original" else "training"
        original = self.load_report is not None and self.load_report.is_original
        return "original" if original else "training"

    # Checkpoints

    def trainable_state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint holds: trained parameters, and statistics that were fitted or grew."""
        kept = {name for name, p in self.named_parameters() if p.requires_grad}
        kept.update(FITTED_BUFFERS)
        state = self.state_dict()
        if not self.settings.freeze_vit:  # batch norms keep what they saw in buffers
            kept.update(name for name in state if name.startswith(_ENCODER))
        return {name.replace(".base_layer.", "."): state[name] for name in state if name in kept}

    def load_checkpoint(self, path: str) -> LoadReport:
        """Load a checkpoint's weights and say what of it was used.

        Raises:
            WeightsError: It cannot be read, or a learned part of it would be lost.
        """
        checkpoint = load_checkpoint_file(path)
        targets = self._loadable()
        report, found = match_weights(str(path), self._adapted(checkpoint.model), targets)
        report.is_original = checkpoint.is_original
        report.chat_template = checkpoint.chat_template
        refuse_unfit(report, self.settings, self._language, self.visual_encoder)
        with torch.no_grad():
            for name, value in found.items():
                targets[name].copy_(value)
        is_whole = not (report.missing or report.unexpected or report.mismatched)
        logger.log(logging.INFO if is_whole else logging.WARNING, "loaded %s", report)
        self.load_report = report
        return report

    def _adapted(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Fit the encoder's weights of a checkpoint to this image size."""
        encoder = {
            n.removeprefix(_ENCODER): v for n, v in weights.items() if n.startswith(_ENCODER)
        }
        return weights | {_ENCODER + n: v for n, v in self.visual_encoder.adapt(encoder).items()}

    def _loadable(self) -> dict[str, Tensor]:
        """What a checkpoint may bring: each tensor once, without what follows from settings."""
        once = {name for name, _ in self.named_parameters()}
        twice = {name for name, _ in self.named_parameters(remove_duplicate=False)} - once
        return {
            name: value
            for name, value in self.state_dict().items()
            if name not in twice and not is_derived(name)
        }


def model_settings(cfg: Any) -> ModelSettings:
    """Typed settings of ``Config.model_cfg``, a mapping, or settings themselves.

    Keys that are not settings are left out: ``Config`` has judged them already.
    """
    if isinstance(cfg, ModelSettings):
        return cfg
    from omegaconf import DictConfig, OmegaConf

    values: Any = OmegaConf.to_container(cfg, resolve=True) if isinstance(cfg, DictConfig) else cfg
    known = {f.name for f in fields(ModelSettings)}
    return ModelSettings(**{k: v for k, v in values.items() if k in known})

"""What an evaluation needs before it begins: its entry, its opened data, its model."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minigpt4.common.errors import ConfigError, DataError, WeightsError
from minigpt4.common.registry import registry
from minigpt4.common.settings import EvalDatasetSettings

if TYPE_CHECKING:
    from minigpt4.common.config import Config
    from minigpt4.datasets.base import RecordDataset

logger = logging.getLogger(__name__)

KINDS = ("vqa", "detection")
"""Kinds of evaluation."""


@dataclass(slots=True)
class EvalData:
    """An opened entry of ``evaluation_datasets``."""

    name: str
    kind: str
    settings: EvalDatasetSettings
    dataset: RecordDataset
    vis_processor: Any


def find_entry(cfg: Config, *, name: str, kind: str) -> str:
    """The entry of ``evaluation_datasets`` that a script is about: its own, or the only of a kind.

    Raises:
        ConfigError: There is none, or several.
    """
    names = list(cfg.eval_dataset_names)
    if name in names:
        return name
    chosen = [each for each in names if cfg.eval_dataset(each).kind == kind]
    if len(chosen) == 1:
        return chosen[0]
    there = f"it has {', '.join(names)}" if names else "it has no entry"
    raise ConfigError(
        f"evaluation_datasets needs an entry {name!r}, or one entry of kind {kind!r}; {there}."
    )


def open_eval_data(cfg: Config, name: str, *, blank: bool = False) -> EvalData:
    """Open the annotations of an entry and check that every picture is there.

    Args:
        cfg: The configuration.
        name: The entry.
        blank: Replace every picture by a plain grey one, whatever the entry says.
    Raises:
        ConfigError: The entry is not complete, or of no known kind.
        DataError: Annotations or pictures are missing or broken, or there is no sample.
    """
    from minigpt4.datasets.builders import build_eval_dataset

    settings = cfg.eval_dataset(name)
    if blank:
        settings = dataclasses.replace(settings, blank=True)
    vis_processor, text_processor = build_processors(cfg, name)
    dataset = build_eval_dataset(
        name, settings, vis_processor=vis_processor, text_processor=text_processor
    )
    if len(dataset) == 0:
        raise DataError(f"{settings.eval_file_path} holds no sample to evaluate on.")
    return EvalData(name, _kind_of(name, settings), settings, dataset, vis_processor)


def _kind_of(name: str, settings: EvalDatasetSettings) -> str:
    kind = settings.kind
    if kind is None and name in registry.names("builder"):
        kind = registry.get_builder_class(name).kind
    if kind not in KINDS:
        raise ConfigError(
            f"evaluation_datasets.{name}.kind is {kind!r}, but must be one of {', '.join(KINDS)}."
        )
    return kind


def build_processors(cfg: Config, name: str) -> tuple[Any, Any]:
    """Image and text processor of an entry; the text processor is None where none is named."""
    vis, text = (
        each and registry.get_processor_class(each.name).from_config(each)
        for each in cfg.eval_processors(name)
    )
    return vis, text


def load_model(cfg: Config) -> Any:
    """The model of section ``model`` on the device of section ``run``, ready to answer.

    Evaluation files do not say whether training wrapped its instructions in the chat template: the
    checkpoint decides, and where it does not say they are wrapped, as the original always does.

    Raises:
        ResourceError: There is no such device.
        WeightsError: The language model or a checkpoint is missing or does not fit.
    """
    from minigpt4.common.device import check_device

    device = check_device(cfg.run().device)
    settings = cfg.model()
    if not settings.ckpt:
        logger.warning("model.ckpt is empty: the model answers as it is, without trained weights")
    elif not Path(settings.ckpt).expanduser().is_file():  # before the language model is read
        raise WeightsError(
            f"The checkpoint {settings.ckpt} (model.ckpt) does not exist: correct the path, name a "
            "run's checkpoint_<epoch>.pth, or see ckpt/README.md for the pre-trained one."
        )
    model = registry.get_model_class(settings.arch).from_config(cfg.model_cfg, device)
    report = model.load_report
    wrapped = report.chat_template if report is not None else None
    model.settings.chat_template = wrapped is not False
    return model.eval()

"""A run's configuration: merged from its sources, checked whole, and handed out typed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from minigpt4.common.config_check import SECTIONS, Checker
from minigpt4.common.config_layers import KeyPath, Layer, listed, merge, read_options, read_yaml
from minigpt4.common.config_names import check_names
from minigpt4.common.config_own import gather_build_info, inherit_reading
from minigpt4.common.config_slips import mend_indentation
from minigpt4.common.distributed import is_main
from minigpt4.common.errors import ConfigError
from minigpt4.common.registry import unknown_name
from minigpt4.common.settings import (
    DatasetSettings,
    EvalDatasetSettings,
    ModelSettings,
    ProcessorSettings,
    RunSettings,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

DEFAULTS = Path(__file__).resolve().parent.parent / "configs"


class Arguments(Protocol):
    """What ``Config`` reads of the command line: also ``options``, a list of ``key=value``."""

    cfg_path: str


class Config:
    """The four sections ``model``, ``datasets``, ``evaluation_datasets`` and ``run``.

    Weakest first: the model's default file, the default files of each data set and each benchmark,
    the user's file, ``--options``; what none of them says has the default of
    ``minigpt4.common.settings``.

    Args:
        args: Holds ``cfg_path`` and, possibly, ``options``.

    Raises:
        ConfigError: Lists every mistake at once, each with its key, its place and the remedy.
    """

    def __init__(self, args: Arguments) -> None:
        user = read_yaml(args.cfg_path)
        warnings, mistakes = mend_indentation(user)
        options = read_options(getattr(args, "options", None))
        mistakes += gather_build_info(user) + gather_build_info(options)
        chosen = merge(user.data, options.data)
        # Strongest first.
        defaults = (*_dataset_defaults(chosen), *_evaluation_defaults(chosen))
        self._layers = [options, user, *defaults, *_model_default(chosen)]
        # Entries keep the order in which the user names them.
        merged: dict[Any, Any] = {
            section: {name: {} for name in _entries(chosen, section)}
            for section in ("datasets", "evaluation_datasets")
        }
        for layer in reversed(self._layers):
            merged = merge(merged, layer.data)
        inherit_reading(merged, public=default_names())

        checker = Checker(self._place)
        checker.mistakes += mistakes
        sections = _checked(checker, self._resolved(merged))
        if checker.mistakes:
            raise ConfigError(listed(f"the configuration {args.cfg_path}", checker.mistakes))
        if is_main():
            for text in warnings + checker.ignored:
                logger.warning("%s", text)
        self.config: DictConfig = OmegaConf.create(sections)

    @property
    def model_cfg(self) -> DictConfig:
        """Section ``model``, complete; may be changed before it is used."""
        return self.config.model

    @property
    def datasets_cfg(self) -> DictConfig:
        """Section ``datasets``, complete."""
        return self.config.datasets

    @property
    def evaluation_datasets_cfg(self) -> DictConfig:
        """Section ``evaluation_datasets``, complete."""
        return self.config.evaluation_datasets

    @property
    def run_cfg(self) -> DictConfig:
        """Section ``run``, complete; may be changed before it is used."""
        return self.config.run

    @property
    def dataset_names(self) -> list[str]:
        """Data sets to train on, in the order of the file."""
        return [str(name) for name in self.datasets_cfg]

    @property
    def eval_dataset_names(self) -> list[str]:
        """Data sets to evaluate on, in the order of the file."""
        return [str(name) for name in self.evaluation_datasets_cfg]

    def model(self) -> ModelSettings:
        """Section ``model``, typed."""
        return typed(ModelSettings, self.model_cfg, "model")

    def run(self) -> RunSettings:
        """Section ``run``, typed."""
        return typed(RunSettings, self.run_cfg, "run")

    def dataset(self, name: str) -> DatasetSettings:
        """One entry of ``datasets``, typed; ``ConfigError`` if there is none of that name."""
        return typed(DatasetSettings, _entry(self.config, "datasets", name), f"datasets.{name}")

    def eval_dataset(self, name: str) -> EvalDatasetSettings:
        """One entry of ``evaluation_datasets``, typed; ``ConfigError`` if there is none."""
        section = "evaluation_datasets"
        return typed(EvalDatasetSettings, _entry(self.config, section, name), f"{section}.{name}")

    def eval_processors(self, name: str) -> tuple[ProcessorSettings, ProcessorSettings | None]:
        """Image and text processor for evaluating or talking about a data set.

        Args:
            name: A data set. Where ``datasets`` does not hold it, its first entry decides, which
                is how evaluation files name the processor.

        Returns:
            The image processor (``blip2_image_eval`` if nothing is said) and the text processor
            (None if nothing is said).
        """
        names = self.dataset_names
        if not names:
            size = self.model().image_size
            return ProcessorSettings(name="blip2_image_eval", image_size=size), None
        entry = self.dataset(name if name in names else names[0])
        text = entry.text_processor.get("eval") or entry.text_processor.get("train")
        return (
            ProcessorSettings(**entry.vis_processor["eval"]),
            ProcessorSettings(**text) if text else None,
        )

    def pretty_print(self) -> None:
        """Log the whole configuration as YAML."""
        logger.info("%s", OmegaConf.to_yaml(self.config).rstrip())

    def to_dict(self) -> dict[str, Any]:
        """The whole configuration as plain dictionaries and lists."""
        return OmegaConf.to_container(self.config, resolve=True)  # type: ignore[return-value]

    def origin(self, key: str) -> str:
        """Say where a dotted key such as ``run.seed`` was set: file and line, or ``--options``.

        A key that no source sets has its parent's place, or ``default``.
        """
        return self._place(tuple(key.split("."))) or "default"

    def is_said(self, key: str) -> bool:
        """Whether the user's file or ``--options`` sets a dotted key, rather than a default."""
        options, user, *_ = self._layers
        path = tuple(key.split("."))
        return any(layer.place(path) is not None for layer in (options, user))

    def _place(self, path: KeyPath) -> str:
        for depth in range(len(path), 0, -1):
            for layer in self._layers:
                place = layer.place(path[:depth])
                if place is not None:
                    return place
        return ""

    def _resolved(self, merged: dict[Any, Any]) -> dict[Any, Any]:
        try:
            return OmegaConf.to_container(OmegaConf.create(merged), resolve=True)  # type: ignore[return-value]
        except OmegaConfBaseException as error:
            key = getattr(error, "full_key", None) or ""
            place = self._place(tuple(key.split("."))) or self._layers[1].name
            reason = str(error).splitlines()[0]
            raise ConfigError(f"{key} ({place}) cannot be resolved: {reason}") from None


def typed(cls: type[T], raw: Mapping[str, Any], where: str) -> T:
    """Turn one section, perhaps changed by a script, into its dataclass.

    Args:
        cls: ``ModelSettings``, ``RunSettings`` ...
        raw: A DictConfig or dictionary; keys may be missing.
        where: The section's name, for messages.

    Raises:
        ConfigError: Lists every unknown key and wrong value.
    """
    plain = OmegaConf.to_container(raw, resolve=True) if isinstance(raw, DictConfig) else raw
    checker = Checker(lambda path: "")
    values = checker.section(cls, plain, (where,))
    if checker.mistakes:
        raise ConfigError(listed("the configuration", checker.mistakes))
    return cls(**values)


def _entry(config: DictConfig, section: str, name: str) -> DictConfig:
    entries = config[section]
    if name not in entries:
        if not entries:
            raise ConfigError(f"the configuration has no {section}: add {name} below it.")
        raise ConfigError(
            f"{section}: {unknown_name('entry', name, [str(key) for key in entries])}"
        )
    return entries[name]


def _entries(chosen: Mapping[Any, Any], section: str) -> Mapping[Any, Any]:
    entries = chosen.get(section)
    return entries if isinstance(entries, Mapping) else {}


def _model_default(chosen: Mapping[Any, Any]) -> list[Layer]:
    model = chosen.get("model")
    model = model if isinstance(model, Mapping) else {}
    arch = model.get("arch", ModelSettings.arch)
    kind = model.get("model_type", ModelSettings.model_type)
    file = DEFAULTS / "models" / f"{arch}_{kind}.yaml"
    return [read_yaml(file)] if file.is_file() else []


def default_names() -> set[str]:
    """Data sets that have a default file."""
    return {file.stem for file in (DEFAULTS / "datasets").rglob("*.yaml")}


def _dataset_defaults(chosen: Mapping[Any, Any]) -> list[Layer]:
    files = {file.stem: file for file in sorted((DEFAULTS / "datasets").rglob("*.yaml"))}
    layers = []
    for name, entry in _entries(chosen, "datasets").items():
        kind = entry.get("type", "default") if isinstance(entry, Mapping) else "default"
        file = files.get(name if kind == "default" else f"{name}_{kind}")
        if file is not None:
            layers.append(read_yaml(file))
    return layers


def _evaluation_defaults(chosen: Mapping[Any, Any]) -> list[Layer]:
    files = [
        DEFAULTS / "evaluation" / f"{name}.yaml" for name in _entries(chosen, "evaluation_datasets")
    ]
    return [read_yaml(file) for file in files if file.is_file()]


def _checked(checker: Checker, raw: dict[Any, Any]) -> dict[str, Any]:
    sections: dict[str, Any] = {}
    for key in raw:
        if key not in SECTIONS:
            checker.unknown_section(key)
    for name, cls in SECTIONS.items():
        if name in ("model", "run"):
            sections[name] = checker.section(cls, raw.get(name), (name,))
            continue
        entries = checker.mapping(raw.get(name), (name,))
        sections[name] = {
            str(entry): checker.section(cls, value, (name, entry))
            for entry, value in entries.items()
        }
    check_names(checker, sections, DEFAULTS)
    return sections

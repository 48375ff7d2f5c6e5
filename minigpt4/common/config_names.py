"""Checks that go beyond one key: registered names, and keys that must fit each other."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minigpt4.common.config_check import Checker
from minigpt4.common.config_layers import PROCESSORS, KeyPath
from minigpt4.common.registry import registry, unknown_name
from minigpt4.common.settings import DatasetSettings, ProcessorSettings


def check_names(checker: Checker, sections: dict[str, Any], defaults: Path) -> None:
    """Check names and dependences, and complete the processors of each data set.

    Args:
        checker: Collects the mistakes.
        sections: The four sections, each complete; changed in place.
        defaults: Folder of the default files.
    """
    model, run = sections["model"], sections["run"]
    _registered(checker, "model", model["arch"], ("model", "arch"))
    _registered(checker, "task", run["task"], ("run", "task"))
    _registered(checker, "runner", run["runner"], ("run", "runner"))
    _registered(checker, "lr_scheduler", run["lr_sched"], ("run", "lr_sched"))
    _model_type(checker, model, defaults / "models")
    if model["prompt_template"].count("{}") != 1:
        checker.wrong(("model", "prompt_template"), "needs {} once, where the instruction goes")
    if model["low_resource"] and model["load_in_4bit"]:
        checker.wrong(("model", "load_in_4bit"), "choose one of low_resource and load_in_4bit")
    if not re.fullmatch(r"cuda(:\d+)?|cpu|mps", run["device"]):
        checker.wrong(("run", "device"), f"{run['device']!r} is not one of cuda, cuda:N, cpu, mps")
    for name, entry in sections["datasets"].items():
        _dataset(checker, name, entry, defaults / "datasets", image_size=model["image_size"])


def _registered(checker: Checker, kind: str, name: str, path: KeyPath) -> None:
    known = registry.names(kind)
    if name not in known:
        checker.wrong(path, unknown_name("data set" if kind == "builder" else kind, name, known))


def _model_type(checker: Checker, model: dict[str, Any], folder: Path) -> None:
    arch = model["arch"]
    known = sorted(file.stem.removeprefix(f"{arch}_") for file in folder.glob(f"{arch}_*.yaml"))
    if known and model["model_type"] not in known:
        message = unknown_name(f"model type of {arch}", model["model_type"], known)
        checker.wrong(("model", "model_type"), message)


def _dataset(
    checker: Checker, name: str, entry: dict[str, Any], folder: Path, *, image_size: int
) -> None:
    path = ("datasets", name)
    if entry["kind"] is None and not _only_names_processors(entry):
        _registered(checker, "builder", name, path)
    stems = {file.stem for file in folder.rglob("*.yaml")}
    if entry["type"] != "default" and f"{name}_{entry['type']}" not in stems:
        known = [stem.removeprefix(f"{name}_") for stem in stems if stem.startswith(f"{name}_")]
        message = unknown_name(f"default file of {name}", entry["type"], ["default", *known])
        checker.wrong((*path, "type"), message)
    for key in PROCESSORS:
        entry[key] = _splits(checker, entry[key], (*path, key))
    pictures = entry["vis_processor"]
    pictures.setdefault("train", asdict(ProcessorSettings(name="blip2_image_train")))
    for split, processor in pictures.items():
        size = processor["image_size"] = processor["image_size"] or image_size
        if size != image_size:
            checker.wrong(
                (*path, "vis_processor", split, "image_size"),
                f"{size} differs from model.image_size, which is {image_size}",
            )
    eval_name = pictures["train"]["name"].replace("_train", "_eval")
    pictures.setdefault("eval", pictures["train"] | {"name": eval_name})


def _only_names_processors(entry: dict[str, Any]) -> bool:
    """Whether an entry says nothing but processors, as those of evaluation files do.

    Such an entry trains nothing, so its name need not be that of a data set.
    """
    untouched = asdict(DatasetSettings())
    return any(entry[key] for key in PROCESSORS) and all(
        entry[key] == untouched[key] for key in untouched if key not in PROCESSORS
    )


def _splits(checker: Checker, raw: Any, path: KeyPath) -> dict[str, dict[str, Any]]:
    splits = {}
    for split, value in checker.mapping(raw, path).items():
        here = (*path, split)
        if split not in ("train", "eval"):
            checker.wrong(here, "unknown key; expected train or eval, with name below it")
            continue
        if value is None:
            continue
        settings = checker.section(ProcessorSettings, value, here)
        if settings["name"] is not None:
            _registered(checker, "processor", settings["name"], (*here, "name"))
            splits[split] = settings
        elif isinstance(value, dict) and "name" not in value:
            checker.wrong(here, "name is missing, e.g. name: blip2_image_train")
    return splits

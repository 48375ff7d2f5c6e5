"""Slips of indentation that are understood, each with a warning."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from minigpt4.common.config_layers import PROCESSORS, KeyPath, Layer
from minigpt4.common.settings import DatasetSettings, ProcessorSettings

_OF_DATASET = {item.name for item in fields(DatasetSettings)}
_OF_PROCESSOR = {item.name for item in fields(ProcessorSettings)}


def mend_indentation(layer: Layer) -> tuple[list[str], list[str]]:
    """Put the keys of a data set that landed inside its processors where they belong.

    The tutorial's listing has ``text_processor`` and ``sample_ratio`` one level too deep, so that
    YAML reads them as parts of ``vis_processor`` (or of ``vis_processor.train``). Also, the keys
    of a processor that stand beside ``train:`` instead of below it are taken as its.

    Args:
        layer: The user's file; changed in place.

    Returns:
        Warnings, and mistakes (a key given both at its place and too deep).
    """
    warnings: list[str] = list(layer.slips)
    mistakes: list[str] = []
    datasets = layer.data.get("datasets")
    for name, entry in datasets.items() if isinstance(datasets, dict) else ():
        if not isinstance(entry, dict):
            continue
        path = ("datasets", name)
        # A key that was lifted may itself hold one: go on until nothing moves.
        while any(
            _lift(layer, entry, entry[processor], path, (*path, processor), warnings, mistakes)
            for processor in PROCESSORS
            if isinstance(entry.get(processor), dict)
        ):
            pass
        for processor in PROCESSORS:
            _lower(layer, entry, (*path, processor), warnings)
    return warnings, mistakes


def _lift(
    layer: Layer,
    entry: dict[Any, Any],
    inside: dict[Any, Any],
    home: KeyPath,
    path: KeyPath,
    warnings: list[str],
    mistakes: list[str],
) -> bool:
    """Move data set keys found in ``inside`` (at ``path``) up to ``entry`` (at ``home``)."""
    moved = False
    for key in list(inside):
        value, here = inside[key], (*path, key)
        if key in _OF_DATASET:
            place = layer.place(here)
            del inside[key]
            moved = True
            if key in entry:
                mistakes.append(
                    f"{dotted(here)} ({place}): it is also given as {dotted(home)}.{key}"
                )
                continue
            entry[key] = value
            layer.move(here, (*home, key))
            warnings.append(
                f"{place}: {key} is indented too deep (inside {dotted(path)}); "
                f"read as {dotted(home)}.{key}"
            )
        elif isinstance(value, dict):
            moved |= _lift(layer, entry, value, home, here, warnings, mistakes)
    return moved


def _lower(layer: Layer, entry: dict[Any, Any], path: KeyPath, warnings: list[str]) -> None:
    """Move processor keys that stand beside ``train:`` below it."""
    processor = entry.get(path[-1])
    if not isinstance(processor, dict) or processor.get("train") is not None:
        return
    stray = [key for key in processor if key in _OF_PROCESSOR]
    if not stray:
        return
    place = layer.place((*path, stray[0]))
    processor["train"] = {key: processor.pop(key) for key in stray}
    for key in stray:
        layer.move((*path, key), (*path, "train", key))
    layer.lines.setdefault((*path, "train"), layer.lines[(*path, "train", stray[0])])
    warnings.append(
        f"{place}: {', '.join(stray)} should stand below {dotted(path)}.train; read as if so"
    )


def dotted(path: KeyPath) -> str:
    """``("run", "seed")`` as ``run.seed``."""
    return ".".join(str(key) for key in path)

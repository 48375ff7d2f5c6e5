"""Entries of the user's own data: keys of ``build_info`` may stand directly in the entry."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import fields
from typing import Any

from minigpt4.common.config_layers import Layer
from minigpt4.common.config_slips import dotted
from minigpt4.common.settings import DatasetSettings, EvalDatasetSettings

HOW_TO_READ = frozenset(
    {
        "reader", "reader_options", "records", "where", "image", "image_name_only", "more_images",
        "fields", "prompts", "eval_prompt", "answer", "answers", "empty_answer", "process",
        "box_form", "classes", "per", "task", "turns", "on_broken", "on_bad_row", "val_share",
    }
)  # fmt: skip
"""Keys of ``build_info`` that say how annotations are read."""
WHERE = frozenset({"ann_path", "val_ann_path", "test_ann_path", "image_path"})
"""Those that say where they are; an evaluation says it with ``eval_file_path`` and ``img_path``."""
_KEYS = {
    "datasets": (HOW_TO_READ | WHERE) - {item.name for item in fields(DatasetSettings)},
    "evaluation_datasets": HOW_TO_READ - {item.name for item in fields(EvalDatasetSettings)},
}

_EVALUATED = ("vqa", "detection", "refer")
"""Kinds that can be evaluated."""


def gather_build_info(layer: Layer) -> list[str]:
    """Move such keys into the entry's ``build_info``.

    Args:
        layer: One source of settings; changed in place.

    Returns:
        Mistakes: keys that are given in both places.
    """
    mistakes = []
    for section, known in _KEYS.items():
        entries = layer.data.get(section)
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            if not isinstance(entry, dict):
                continue
            for key in [key for key in entry if key in known]:
                info = entry.get("build_info")
                home = (section, name, "build_info")
                if info is None:
                    info = entry["build_info"] = {}
                    layer.lines.setdefault(home, layer.lines.get((section, name, key)))
                if not isinstance(info, dict):
                    break
                if key in info:
                    place = layer.place((section, name, key))
                    mistakes.append(
                        f"{dotted((section, name, key))} ({place}): it is also given as "
                        f"{dotted(home)}.{key}"
                    )
                    continue
                info[key] = entry.pop(key)
                layer.move((section, name, key), (*home, key))
    return mistakes


def inherit_reading(merged: dict[Any, Any], *, public: Set[str]) -> None:
    """Let an evaluation of the user's own data read its files as training does.

    An entry of ``evaluation_datasets`` that is called like one of ``datasets`` takes over the kind
    and everything that says how files are read. Without a file of its own it is about the
    validation data: ``val_ann_path``, or the part that ``val_share`` holds out.

    Args:
        merged: All sections; changed in place.
        public: Data sets that have a default file, which says all this itself.
    """
    trained, evaluations = merged.get("datasets"), merged.get("evaluation_datasets")
    if not isinstance(trained, dict) or not isinstance(evaluations, dict):
        return
    for name in set(trained) & set(evaluations) - public:
        train, entry = trained[name], evaluations[name]
        info = train.get("build_info") if isinstance(train, dict) else None
        if not isinstance(info, dict) or train.get("kind") not in _EVALUATED:
            continue
        if not isinstance(entry, dict | None):
            continue
        entry = dict(entry or {})
        reading = {key: value for key, value in info.items() if key in HOW_TO_READ}
        first = _only(info.get("ann_path"))
        if not entry.get("eval_file_path"):
            entry["eval_file_path"] = _only(info.get("val_ann_path")) or (
                first if info.get("val_share") else ""
            )
        if entry["eval_file_path"] != first:
            reading.pop("val_share", None)
        if not reading.get("val_share") and isinstance(reading.get("reader_options"), dict):
            # The split that training names is not the one to evaluate on.
            options = reading["reader_options"]
            reading["reader_options"] = {k: v for k, v in options.items() if k != "split"}
        if not entry.get("img_path"):
            entry["img_path"] = info.get("image_path") or ""
        entry.setdefault("kind", train["kind"])
        entry["build_info"] = reading | (entry.get("build_info") or {})
        evaluations[name] = entry


def _only(paths: Any) -> str:
    """The path where there is one only."""
    if isinstance(paths, list):
        paths = paths[0] if len(paths) == 1 else ""
    return str(paths or "")

"""Entries of the user's own data: keys of ``build_info`` may stand directly in the entry."""

from __future__ import annotations

from dataclasses import fields

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

"""``build_info`` of a streamed data set, checked in one place."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from minigpt4.common.errors import ConfigError
from minigpt4.datasets.patterns import compiled
from minigpt4.datasets.spec import annotation_entry, as_strings
from minigpt4.datasets.value_types import type_mistakes

_OLD_KEYS = ("annotations", "images", "storage", "url")


@dataclass(kw_only=True, frozen=True)
class StreamSpec:
    """What ``build_info`` may say; each kind of stream has defaults for the texts."""

    shards: tuple[str, ...] = ()
    """Tar files: paths, ``http(s)://`` URLs, ``pipe:`` commands and what else webdataset opens,
    with brace ranges (``{00000..01255}.tar``); a folder stands for its tar files."""
    fields: Mapping[str, str] | None = None
    """Key in a member's JSON of each name that the patterns use, where they differ."""
    prompts: Any = ()
    """Patterns of instructions with their task tag; by task where a kind has several tasks."""
    answer: str = "{caption}"
    """Pattern of the answer."""
    process: tuple[str, ...] = ("caption",)
    """Columns that the text processor cleans."""
    shuffle: int = 1000
    """Samples among which the order is drawn; 0 keeps the order within a shard."""
    lanes: int = 8
    """Shards that are read side by side (the largest power of two up to it, and to the number of
    shards); processes share them, so give at least as many as processes."""
    length: int | None = None
    """Samples, where shards cannot be counted (URLs and commands)."""
    on_broken: str = "error"
    """A shard that cannot be opened: ``error``, or ``skip`` (counted, reported)."""
    tasks: Any = None
    """Weight of each task, for kinds that have several; names alone (in a file) weigh the same."""
    min_score: float = 0.0
    """Least confidence of a box that is used, for kinds whose boxes have one."""


def make_stream_spec(
    build_info: Mapping[str, Any], defaults: Mapping[str, Any], *, name: str
) -> StreamSpec:
    """Check a ``build_info`` over a kind's defaults.

    Raises:
        ConfigError: Lists every unknown key and wrong value at once.
    """
    known = [field.name for field in fields(StreamSpec)]
    mistakes = []
    for key in build_info:
        if key not in known and key not in _OLD_KEYS:
            near = difflib.get_close_matches(key, [*known, *_OLD_KEYS], n=1)
            mistakes.append(f"unknown key {key!r}{f', did you mean {near[0]!r}?' if near else ''}")
    wrong = type_mistakes(build_info, StreamSpec)
    if wrong:
        raise ConfigError(f"datasets.{name}.build_info: {'; '.join([*mistakes, *wrong])}.")
    values = {**defaults, **{k: v for k, v in build_info.items() if k in known}}
    values["shards"] = as_strings(values.get("shards")) or _old_shards(build_info)
    values["process"] = as_strings(values.get("process", StreamSpec.process))
    if not values["shards"]:
        mistakes.append("no shards are given (shards, or storage as in older files)")
    if values.get("on_broken", "error") not in ("error", "skip"):
        mistakes.append(f"on_broken is {values['on_broken']!r}, but must be one of error, skip")
    for key, least in (("shuffle", 0), ("lanes", 1), ("length", 1)):
        value = values.get(key)
        if value is not None and value < least:
            mistakes.append(f"{key} is {value!r}, but must be {least} or more")
    mistakes += _task_mistakes(values, defaults)
    mistakes += _pattern_mistakes(values)
    if mistakes:
        raise ConfigError(f"datasets.{name}.build_info: {'; '.join(mistakes)}.")
    return StreamSpec(**values)


def _task_mistakes(values: dict[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """Complete ``tasks`` and ``prompts`` by task in place; what is wrong with them."""
    known = defaults.get("tasks")
    if known is None:
        values["prompts"] = as_strings(values.get("prompts"))
        return [] if values["prompts"] else ["no prompts are given"]
    tasks = values["tasks"]
    if not isinstance(tasks, Mapping):
        tasks = dict.fromkeys(as_strings(tasks), 1.0)
    prompts = values.get("prompts") or {}
    if not isinstance(prompts, Mapping):
        return [f"prompts must name a task each ({', '.join(known)})"]
    values["tasks"] = tasks
    values["prompts"] = {
        **defaults["prompts"],
        **{task: as_strings(texts) for task, texts in prompts.items()},
    }
    mistakes = [
        f"there is no task {task!r} (there are {', '.join(known)})"
        for task in dict.fromkeys([*tasks, *prompts])
        if task not in known
    ]
    weights = list(tasks.values())
    if any(isinstance(w, bool) or not isinstance(w, int | float) or w < 0 for w in weights) or (
        not any(weights)
    ):
        mistakes.append(f"tasks must give weights of 0 or more, not all 0, but is {dict(tasks)}")
    return mistakes


def _pattern_mistakes(values: Mapping[str, Any]) -> list[str]:
    prompts = values.get("prompts") or ()
    texts = (
        [t for many in prompts.values() for t in many]
        if isinstance(prompts, Mapping)
        else (list(prompts))
    )
    mistakes = []
    for text in [*texts, values.get("answer", "")]:
        try:
            compiled(text)
        except ValueError as error:
            mistakes.append(f"the pattern {text!r} cannot be read ({error})")
    return mistakes


def _old_shards(build_info: Mapping[str, Any]) -> tuple[str, ...]:
    """Shards from the keys of older files: ``annotations.train.storage``, or ``storage``.

    A default file says the second, so the first is the user's own.
    """
    entry = annotation_entry(build_info, "train")
    return as_strings(entry.get("storage") or build_info.get("storage"))

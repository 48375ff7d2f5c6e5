"""Checks of a configuration against the dataclasses of ``settings``."""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from minigpt4.common.config_layers import KeyPath
from minigpt4.common.config_slips import dotted
from minigpt4.common.settings import (
    DatasetSettings,
    EvalDatasetSettings,
    ModelSettings,
    ProcessorSettings,
    RunSettings,
)

SECTIONS: dict[str, type] = {
    "model": ModelSettings,
    "datasets": DatasetSettings,
    "evaluation_datasets": EvalDatasetSettings,
    "run": RunSettings,
}

# Keys of other people's files that mean nothing here: accepted, with a line that says so.
IGNORED: dict[type | None, frozenset[str]] = {
    None: frozenset({"preprocess", "env"}),
    ModelSettings: frozenset(
        {"load_finetuned", "finetuned", "load_pretrained", "pretrained", "prompt", "vit_path"}
    ),
    DatasetSettings: frozenset({"format", "data_dir"}),
    EvalDatasetSettings: frozenset({"split"}),
    RunSettings: frozenset(
        {
            "batch_size_train",
            "batch_size_eval",
            "max_len",
            "min_len",
            "num_beams",
            "use_dist_eval_sampler",
            "optimizer",
        }
    ),
    ProcessorSettings: frozenset({"min_scale", "max_scale"}),
}

CHOICES: dict[type, dict[str, tuple[str, ...]]] = {
    ModelSettings: {
        "vit_precision": ("fp16", "bf16", "fp32"),
        "llm_precision": ("auto", "fp16", "bf16", "fp32"),
        "token_merge": ("1x4", "2x2", "none"),
        "prompt_style": ("training", "original"),
    },
    RunSettings: {
        "feature_cache": ("off", "memory", "disk", "auto"),
        "feature_cache_dtype": ("fp16", "int8"),
        "mixing": ("samples", "steps"),
        "score": ("confidence", "constant"),
    },
    EvalDatasetSettings: {
        "kind": ("vqa", "detection", "refer"),
        "decoding": ("free", "grammar", "answers", "rank"),
        "metric": ("exact", "vqa", "vizwiz", "anls"),
    },
}

_POSITIVE, _COUNT, _SHARE = "more than 0", "0 or more", "from 0 to 1"
_HOLDS: dict[str, Callable[[float], bool]] = {
    _POSITIVE: lambda value: value > 0,
    _COUNT: lambda value: value >= 0,
    _SHARE: lambda value: 0 <= value <= 1,
}
RANGES: dict[type, dict[str, tuple[str, ...]]] = {
    ModelSettings: {
        _POSITIVE: (
            "image_size",
            "lora_alpha",
            "max_txt_len",
            "max_context_len",
            "num_query_token",
        ),
        _COUNT: ("lora_r", "coord_sigma"),
        _SHARE: ("drop_path_rate", "lora_dropout"),
    },
    ProcessorSettings: {_POSITIVE: ("image_size", "max_words")},
    DatasetSettings: {_POSITIVE: ("batch_size", "sample_ratio")},
    EvalDatasetSettings: {_POSITIVE: ("batch_size", "max_new_tokens", "limit")},
    RunSettings: {
        _POSITIVE: (
            "init_lr",
            "lr_decay_rate",
            "max_grad_norm",
            "feature_cache_gb",
            "accum_grad_iters",
            "max_epoch",
            "iters_per_epoch",
            "log_freq",
            "world_size",
        ),
        _COUNT: ("min_lr", "warmup_steps", "weight_decay", "seed", "bootstrap"),
        _SHARE: ("beta2",),
    },
}

_YES, _NO = ("true", "yes", "on"), ("false", "no", "off")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


class _ValueTypeError(Exception):
    """Carries what was expected."""


class Checker:
    """Turns raw sections into complete, typed ones and collects what is wrong.

    Attributes:
        mistakes: One line each: key path, where it was set, what is wrong.
        ignored: One line each: keys that are accepted and have no effect.
    """

    def __init__(self, place: Callable[[KeyPath], str]) -> None:
        self._place = place
        self.mistakes: list[str] = []
        self.ignored: list[str] = []

    def wrong(self, path: KeyPath, text: str) -> None:
        """Note a mistake at ``path``."""
        place = self._place(path)
        self.mistakes.append(f"{dotted(path)}{f' ({place})' if place else ''}: {text}")

    def mapping(self, value: Any, path: KeyPath) -> dict[Any, Any]:
        """Return ``value`` if it is a mapping; nothing (with a mistake) otherwise."""
        if value is None:
            return {}
        if isinstance(value, Mapping):
            return dict(value)
        self.wrong(path, f"expected keys and values below it, not {value!r}")
        return {}

    def section(self, cls: type, raw: Any, path: KeyPath) -> dict[str, Any]:
        """Check one section.

        Args:
            cls: The dataclass that describes it.
            raw: What the sources say.
            path: Where it stands.

        Returns:
            Every field of ``cls``: the checked value, or the default where none or a wrong one
            was given.
        """
        raw = self.mapping(raw, path)
        hints = typing.get_type_hints(cls)
        result: dict[str, Any] = {}
        for item in dataclasses.fields(cls):
            if item.name in raw:
                here = (*path, item.name)
                try:
                    value = _as_written(raw.pop(item.name), CHOICES.get(cls, {}).get(item.name))
                    result[item.name] = _coerce(value, hints[item.name], item)
                    self._limits(cls, item.name, result[item.name], here)
                    continue
                except _ValueTypeError as error:
                    self.wrong(here, str(error))
            result[item.name] = _default(item)
        for key in raw:
            self._unknown(cls, key, (*path, key), list(result))
        return result

    def unknown_section(self, key: Any) -> None:
        """Deal with a key at the root that is no section."""
        self._unknown(None, key, (key,), list(SECTIONS))

    def _unknown(self, cls: type | None, key: Any, path: KeyPath, known: list[str]) -> None:
        if key in IGNORED[cls]:
            place = self._place(path)
            self.ignored.append(f"{dotted(path)}{f' ({place})' if place else ''}: has no effect")
            return
        near = difflib.get_close_matches(str(key), known, n=1)
        homes = [
            name
            for name, other in SECTIONS.items()
            if other is not cls and key in {item.name for item in dataclasses.fields(other)}
        ]
        if homes:
            below = "" if homes[0] in ("model", "run") else ".<name>"
            hint = f"it belongs below {homes[0]}{below}"
        elif near:
            hint = f"did you mean {near[0]}?"
        else:
            hint = f"known: {', '.join(known)}"
        self.wrong(path, f"unknown key; {hint}")

    def _limits(self, cls: type, name: str, value: Any, path: KeyPath) -> None:
        if value is None:
            return
        choices = CHOICES.get(cls, {}).get(name)
        if choices and value not in choices:
            self.wrong(path, f"{value!r} is not one of {', '.join(choices)}")
        for words, names in RANGES.get(cls, {}).items():
            if name in names and not _HOLDS[words](value):
                self.wrong(path, f"must be {words}, not {value!r}")


def _as_written(value: Any, choices: tuple[str, ...] | None) -> Any:
    """The choice that was meant where YAML reads a bare ``off`` as False, or ``on`` as True."""
    if choices is None or not isinstance(value, bool):
        return value
    words = _YES if value else _NO
    return next((word for word in words if word in choices), str(value))


def _default(item: dataclasses.Field[Any]) -> Any:
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    return None if item.default is dataclasses.MISSING else item.default


def _coerce(value: Any, hint: Any, item: dataclasses.Field[Any]) -> Any:
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        (hint,) = (arm for arm in typing.get_args(hint) if arm is not type(None))
    if value is None:
        default = _default(item)
        if default or default is None or isinstance(default, bool | int | float):
            raise _ValueTypeError("it is empty: give a value or remove the line")
        return default
    origin = typing.get_origin(hint) or hint
    return _READERS[origin](value, typing.get_args(hint))


def _text(value: Any, _: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _ValueTypeError(f"expected text, not {value!r}: put it in quotes")
    return str(value)


def _number(value: Any, _: Any) -> float:
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _ValueTypeError(f"expected a number, not {value!r}")
    return float(value)


def _whole(value: Any, _: Any) -> int:
    try:
        number = _number(value, _)
    except _ValueTypeError:
        number = 0.5
    if not number.is_integer():
        raise _ValueTypeError(f"expected a whole number, not {value!r}")
    return int(number)


def _truth(value: Any, _: Any) -> bool:
    if isinstance(value, str) and value.lower() in _YES + _NO:
        return value.lower() in _YES
    if not isinstance(value, bool):
        raise _ValueTypeError(f"expected True or False, not {value!r}")
    return value


def _list(value: Any, arms: Any) -> list[Any]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(one, str) for one in items):
        raise _ValueTypeError(f"expected a list of texts such as [train], not {value!r}")
    return list(items)


def _dict(value: Any, arms: Any) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise _ValueTypeError(f"expected keys and values below it, not {value!r}")
    if arms and arms[1] is float:
        return {str(key): _number(one, ()) for key, one in value.items()}
    return dict(value)


_READERS: dict[Any, Callable[[Any, Any], Any]] = {
    str: _text,
    float: _number,
    int: _whole,
    bool: _truth,
    list: _list,
    dict: _dict,
}

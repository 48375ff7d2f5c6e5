"""Whether the values of a ``build_info`` are of the types that its keys ask for."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_texts(value: Any) -> bool:
    return _is_text(value) or (
        isinstance(value, list | tuple) and all(_is_text(v) or _is_number(v) for v in value)
    )


_TYPES: Mapping[Any, tuple[Callable[[Any], bool], str]] = {
    str: (_is_text, "text"),
    bool: (lambda value: isinstance(value, bool), "True or False"),
    int: (lambda value: _is_number(value) and value == int(value), "a whole number"),
    float: (_is_number, "a number"),
    tuple: (_are_texts, "text or a list of texts"),
    Mapping: (lambda value: isinstance(value, Mapping), "keys and values"),
}


def type_mistakes(build_info: Mapping[str, Any], cls: type) -> list[str]:
    """What is of the wrong type, one sentence each.

    Args:
        build_info: As the YAML files say it; keys that ``cls`` lacks are not looked at.
        cls: The dataclass that it becomes.
    """
    hints = typing.get_type_hints(cls)
    mistakes = []
    for key, value in build_info.items():
        hint = hints.get(key, Any)
        if isinstance(hint, UnionType):
            (hint,) = (arm for arm in typing.get_args(hint) if arm is not type(None))
            if value is None:
                continue
        origin = typing.get_origin(hint) or hint
        if origin not in _TYPES or (value is None and origin is tuple):
            continue
        fits, what = _TYPES[origin]
        inner = typing.get_args(hint)[1] if origin is Mapping else Any
        if not fits(value):
            mistakes.append(f"{key} is {value!r}, but must be {what}{_quotes(value)}")
        elif inner is not Any:
            fits, what = _TYPES[typing.get_origin(inner) or inner]
            mistakes += [
                f"{key}.{name} is {each!r}, but must be {what}{_quotes(each)}"
                for name, each in value.items()
                if not fits(each)
            ]
    return mistakes


def _quotes(value: Any) -> str:
    """YAML reads a bare ``yes`` or ``off`` as a truth."""
    values = value if isinstance(value, list) else [value]
    return ": put it in quotes" if any(isinstance(each, bool) for each in values) else ""

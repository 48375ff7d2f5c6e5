"""Keeping out what libraries import whenever it is installed, whether it is needed or not.

Importing transformers, torchvision and PEFT brings in Triton's compiler for GPUs, bitsandbytes with
all of inductor, and SciPy's optimizers: two to three seconds and 160 MB of a process that may never
use them.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any


@contextmanager
def hidden(*packages: str, asked_by: Sequence[tuple[str, str]] = ()) -> Iterator[None]:
    """Let packages seem absent within a ``with`` block; those imported already stay.

    Args:
        packages: Their names.
        asked_by: Functions, as module and name, that remember whether a package is there; they are
            made to look again, both within the block and after it.
    """
    absent = [name for name in packages if name not in sys.modules]
    for name in absent:
        _hide(name)
    _look_again(asked_by)
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
        _look_again(asked_by)


def import_model_libraries() -> None:
    """Import torch and transformers without what their models here never use.

    To be called by commands before they import what works with models; nothing depends on it. Where
    there is no accelerator Triton stays hidden, as its compiler has nothing to compile for.
    """
    import torch

    if not torch.accelerator.is_available() and "triton" not in sys.modules:
        _hide("triton")
        logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)  # it would say so
    with hidden("scipy", asked_by=[("transformers.utils.import_utils", "is_scipy_available")]):
        importlib.import_module("transformers.modeling_utils")


@contextmanager
def light_peft() -> Iterator[None]:
    """Import and use PEFT within a ``with`` block as if there was no bitsandbytes.

    With a quantized model bitsandbytes is imported already, and so stays.
    """
    remembering = ("is_bnb_available", "is_bnb_4bit_available")
    with hidden("bitsandbytes", asked_by=[("peft.import_utils", name) for name in remembering]):
        yield


def _hide(name: str) -> None:
    modules: dict[str, ModuleType | Any] = sys.modules
    modules[name] = None


def _look_again(functions: Sequence[tuple[str, str]]) -> None:
    for module, function in functions:
        remembering = getattr(sys.modules.get(module), function, None)
        forget: Callable[[], None] | None = getattr(remembering, "cache_clear", None)
        if forget is not None:
            forget()

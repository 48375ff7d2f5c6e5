"""Pickles of plain data, read without running any code that they may hold."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

from minigpt4.common.errors import DataError

# What pickles of plain data may name beside the pickle format's own types (dict, list, str, int,
# float, bool, None, bytes): types of Python 2's pickles that format 2 spells as globals.
_PLAIN: dict[tuple[str, str], type] = {
    (module, name): kind
    for module in ("builtins", "__builtin__")
    for name, kind in (("set", set), ("frozenset", frozenset), ("complex", complex))
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _PLAIN:
            return _PLAIN[module, name]
        raise pickle.UnpicklingError(f"it names {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to data outside of itself")


def load_plain_pickle(path: Path) -> Any:
    """Read a pickle that builds nothing but containers, texts and numbers.

    Texts of Python 2 are read as UTF-8.

    Raises:
        DataError: The file is missing, damaged, or asks for anything else, which would run code.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): check the path.") from error
    try:
        return _PlainUnpickler(io.BytesIO(data), encoding="utf-8").load()
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path} is refused: a pickle may run code, so only plain data is read, and {error}; "
            "fetch the file from where the data set is published."
        ) from error
    except (EOFError, ValueError, IndexError, KeyError, TypeError, AttributeError, MemoryError,
            UnicodeDecodeError, OverflowError) as error:  # fmt: skip
        raise DataError(f"{path} is no readable pickle ({error}): fetch it again.") from error

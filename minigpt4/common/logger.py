"""What the user sees while something runs: log lines and progress."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from minigpt4.common.distributed import is_main

PACKAGE = "minigpt4"
LINE_SECONDS = 15.0
"""Seconds between lines of progress where there is no terminal to draw a bar on."""

_said: set[str] = set()


class _ConsoleFormatter(logging.Formatter):
    """The bare message; from a warning on, with its level before it."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}"


class _ConsoleHandler(logging.Handler):
    """Writes to stderr above a progress bar rather than through it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except Exception:
            self.handleError(record)


def setup_logging(*, log_file: str | Path | None = None, level: int = logging.INFO) -> None:
    """Send the package's log lines to the console, and to a file when one is named.

    Processes other than the main one only speak from a warning on. Calling it again replaces the
    earlier set-up, so that a file can be added once its folder is known.

    Args:
        log_file: File to append to, with times; its folder must exist.
        level: Least level that the main process shows.
    """
    package = logging.getLogger(PACKAGE)
    for handler in list(package.handlers):
        package.removeHandler(handler)
        handler.close()
    package.setLevel(level if is_main() else max(level, logging.WARNING))
    package.propagate = False
    console = _ConsoleHandler()
    console.setFormatter(_ConsoleFormatter("%(message)s"))
    package.addHandler(console)
    if log_file is not None and is_main():
        file = logging.FileHandler(log_file, encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        package.addHandler(file)


def warn_once(logger: logging.Logger, message: str) -> None:
    """Warn, unless the same words were said before in this process."""
    if message not in _said:
        _said.add(message)
        logger.warning(message)


class _LogLines(io.StringIO):
    """A file for tqdm that turns its redrawn bar into log lines."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__()
        self._logger = logger
        self._done = ""

    def write(self, text: str) -> int:
        line = text.strip("\r\n\x1b[A ")
        done = line.partition(" [")[0]
        # The bar draws its last state twice.
        if line and done != self._done:
            self._done = done
            self._logger.info(line)
        return len(text)


def progress(
    iterable: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    desc: str = "",
    unit: str = "it",
    initial: int = 0,
) -> tqdm[Any]:
    """Show how far a loop is and how long it will take.

    On a terminal a bar; elsewhere (CI, a pipe) a log line every ``LINE_SECONDS``, none for loops
    that are done sooner; in processes other than the main one nothing.

    Args:
        iterable: What is looped over; None when ``update`` is called by hand.
        total: Steps, when ``iterable`` has no length.
        desc: What is being done.
        unit: What a step is.
        initial: Steps done before, for instance in a run that is resumed.

    Returns:
        A tqdm bar: iterate over it, or use ``update``, ``set_postfix`` and ``close``.
    """
    common: dict[str, Any] = {
        "total": total,
        "desc": desc,
        "unit": unit,
        "unit_scale": unit == "B",
        "initial": initial,
        "disable": not is_main(),
    }
    if sys.stderr.isatty():
        return tqdm(iterable, dynamic_ncols=True, **common)
    return tqdm(
        iterable,
        file=_LogLines(logging.getLogger(f"{PACKAGE}.progress")),
        mininterval=LINE_SECONDS,
        maxinterval=LINE_SECONDS,
        delay=LINE_SECONDS,
        bar_format=f"{desc and desc + ': '}"
        "{n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]",
        **common,
    )

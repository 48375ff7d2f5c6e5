"""Mistakes a user can make, each with one sentence and an exit code for scripts."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

logger = logging.getLogger(__name__)


class UserError(Exception):
    """A mistake that the user can mend; the message names the thing, the place and the remedy."""

    exit_code = 1


class ConfigError(UserError):
    """A wrong key or value in a YAML file, in ``--options`` or on the command line."""

    exit_code = 2


class DataError(UserError):
    """A missing or broken annotation file, picture, mask or box."""

    exit_code = 3


class WeightsError(UserError):
    """A missing, broken or unsuitable checkpoint, language model or encoder."""

    exit_code = 4


class ResourceError(UserError):
    """Too little memory or disk, or no device of the kind that was asked for."""

    exit_code = 5


class AccessError(UserError):
    """A download that was refused, is gone, or needs a token or licence."""

    exit_code = 6


class TrainingError(UserError):
    """Training cannot go on, for instance because the loss is not finite."""

    exit_code = 7


INTERRUPTED = 130


DEAD_READER = (
    "A process that reads pictures was ended from outside, as happens when memory runs out: lower "
    "run.num_workers (with 0 no other process reads); checkpoints saved before are complete."
)


def run_cli(main: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None = None) -> int:
    """Run ``main(argv)`` and turn the mistakes of users into one line and an exit code.

    Args:
        main: The command; it returns nothing and raises on failure.
        argv: Command-line words, or None for ``sys.argv[1:]``.
    Returns:
        0 on success, the ``exit_code`` of a ``UserError``, 130 after Ctrl-C. Other exceptions are
        defects of the program and pass through with their traceback.
    """
    try:
        main(argv)
    except UserError as error:
        return _say(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _say("Interrupted; what was saved before is complete.", INTERRUPTED)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return _say(
            f"The disk is full while writing {error.filename or 'a file'}: free some space or "
            "choose another output folder; files written before are complete.",
            ResourceError.exit_code,
        )
    except (MemoryError, RuntimeError) as error:
        if "DataLoader worker" in str(error):  # raised by a signal's handler, wherever that comes
            return _say(DEAD_READER, ResourceError.exit_code)
        if not is_out_of_memory(error):
            raise
        return _say(
            "Out of memory: lower batch_size (raise accum_grad_iters to keep the same effective "
            "batch), set model.use_grad_checkpoint_llm or model.load_in_4bit, or use another "
            "device.",
            ResourceError.exit_code,
        )
    return 0


@contextlib.contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Let an error while a file is written, such as a full disk's, say which file it was."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that the host or the accelerator ran out of memory."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error)
    return "DefaultCPUAllocator: can't allocate memory" in text or "out of memory" in text


def _say(message: str, code: int) -> int:
    sys.stdout.flush()
    if os.environ.get("MINIGPT4_DEBUG"):
        logger.exception("full traceback (MINIGPT4_DEBUG is set)")
    sys.stderr.write(f"error: {message}\n")
    return code

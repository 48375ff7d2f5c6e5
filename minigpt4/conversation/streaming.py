"""Text of an answer while it is being made, in a thread of its own that can be stopped."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from torch import Tensor

T = TypeVar("T")


class StoppedError(Exception):
    """Raised inside the work when nobody waits for it any more."""


class BackgroundAnswer(Generic[T]):
    """Runs ``work`` in a thread; iterating gives the texts it tells, ``result`` what it returned.

    Args:
        work: Called with a function to tell a text with; it raises ``StoppedError`` after ``stop``.
    """

    def __init__(self, work: Callable[[Callable[[str], None]], T]) -> None:
        self._texts: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._error: Exception | None = None
        self._results: list[T] = []
        self._work = work
        self._thread = threading.Thread(target=self._run, name="answer", daemon=True)
        self._thread.start()

    def _tell(self, text: str) -> None:
        if self._stopped.is_set():
            raise StoppedError
        self._texts.put(text)

    def _run(self) -> None:
        try:
            self._results.append(self._work(self._tell))
        except StoppedError:
            pass
        except Exception as error:  # raised again where the texts are read
            self._error = error
        finally:
            self._texts.put(None)

    def __iter__(self) -> Iterator[str]:
        """Each text that differs from the one before; raises what ``work`` raised."""
        last = ""
        while (text := self._texts.get()) is not None:
            if text != last:
                yield text
            last = text
        if self._error is not None:
            raise self._error

    @property
    def result(self) -> T:
        """What ``work`` returned; there once the iteration has ended by itself."""
        return self._results[0]

    def stop(self) -> None:
        """End the work when it next tells something, and wait until it has ended."""
        self._stopped.set()
        self._thread.join()


class TokenStreamer:
    """What ``generate`` of transformers hands its tokens to; tells the text so far.

    Args:
        decode: Token ids to text, without a character that is incomplete yet.
        tell: Called with the text after each token.
    """

    def __init__(self, decode: Callable[[list[int]], str], tell: Callable[[str], None]) -> None:
        self._decode = decode
        self._tell = tell
        self._ids: list[int] = []

    def put(self, value: Tensor) -> None:
        """Take the new token (1,) of a step; the prompt (1, L) is passed over."""
        if value.dim() == 1:
            self._ids += value.tolist()
            self._tell(self._decode(self._ids))

    def end(self) -> None:
        """Nothing to do: whoever called ``generate`` knows."""

"""Opening shards: files, downloads that survive a lost connection, and commands."""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from typing import IO, Any, cast

_TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as lost."""
_TRIES = 5
_PAUSE = 1.0
"""Seconds before the second attempt; doubled for each further one."""
_GONE = (400, 401, 403, 404, 405, 410, 451)
"""Answers that another attempt will not change."""


def is_local(shard: str) -> bool:
    """Whether a shard is a path here rather than a URL or a command."""
    return "://" not in shard and not shard.startswith("pipe:")


def open_shard(shard: str) -> IO[bytes]:
    """Open a shard for reading from its beginning.

    Args:
        shard: A path, an ``http(s)://`` URL, ``pipe:<command>``, or a URL of another kind that
            webdataset opens (``gs://``, ``hf://``, ``sftp://`` ...).
    Raises:
        OSError: It cannot be opened; reading may raise it later too.
    """
    if is_local(shard):
        return open(shard, "rb")  # noqa: PTH123 - the caller closes it
    if shard.startswith(("http://", "https://")):
        return cast("IO[bytes]", io.BufferedReader(_Download(shard), 1 << 20))
    if shard.startswith("pipe:"):
        return cast("IO[bytes]", _Command(shard.removeprefix("pipe:")))
    from webdataset.gopen import gopen

    return cast("IO[bytes]", gopen(shard))


class _Download(io.RawIOBase):
    """A URL as a file that is read once from front to back.

    After a lost connection it goes on where it stopped.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._at = 0
        self._end: int | None = None
        self._answer: Any = None
        self._insist(lambda: b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._at == self._end:
            return 0
        data = self._insist(lambda: self._read(len(buffer)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if self._answer is not None:
            self._answer.close()
        super().close()

    def _read(self, count: int) -> bytes:
        data: bytes = self._answer.read(count)
        if not data and self._end is not None:
            raise ConnectionError(f"it ended after {self._at} of {self._end} bytes")
        return data

    def _insist(self, action: Any) -> bytes:
        """Connect if there is no connection, then act; again after a pause when either fails."""
        for attempt in range(_TRIES):
            try:
                if self._answer is None:
                    self._connect()
                return bytes(action())
            except urllib.error.HTTPError as error:
                failure: Exception = error
                if error.code in _GONE:
                    break
            except (OSError, http.client.HTTPException) as error:
                failure = error
            self._answer = None
            if attempt + 1 < _TRIES:
                time.sleep(_PAUSE * 2**attempt)
        raise OSError(str(failure)) from failure

    def _connect(self) -> None:
        headers = {"Range": f"bytes={self._at}-"} if self._at else {}
        request = urllib.request.Request(self._url, headers=headers)
        answer: Any = urllib.request.urlopen(request, timeout=_TIMEOUT)
        went_on = self._at > 0 and answer.status == 206
        length = answer.headers.get("Content-Length")
        if length is not None:
            self._end = int(length) + (self._at if went_on else 0)
        left = 0 if went_on else self._at
        while left:  # this server only knows how to begin at the beginning
            skipped = len(answer.read(min(left, 1 << 20)))
            if not skipped:
                raise ConnectionError(f"it ended before byte {self._at}")
            left -= skipped
        self._answer = answer


class _Command(io.RawIOBase):
    """The output of a shell command.

    Not buffered, so that nobody waits for more than the archive. It runs in a session of its own:
    Ctrl-C is for the training process, which still wants the samples of its last step.
    """

    def __init__(self, command: str) -> None:
        self._process = subprocess.Popen(
            command, shell=True, stdout=subprocess.PIPE, start_new_session=True
        )

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        assert self._process.stdout is not None
        data = self._process.stdout.read1(len(buffer))  # type: ignore[attr-defined]
        buffer[: len(data)] = data
        if not data:
            status = self._process.wait()
            if status:
                raise OSError(f"the command ended with status {status}")
        return len(data)

    def close(self) -> None:
        if not self.closed and self._process.stdout is not None:
            self._process.stdout.close()
            if self._process.poll() is None:
                with contextlib.suppress(OSError):
                    if hasattr(os, "killpg"):
                        os.killpg(self._process.pid, signal.SIGKILL)
                    else:
                        self._process.kill()
                self._process.wait()
        super().close()

"""Files from the web: whole or not there, resumed when interrupted, checked."""

from __future__ import annotations

import base64
import errno
import hashlib
import http.client
import shutil
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path

from minigpt4.common.errors import AccessError, DataError, ResourceError
from minigpt4.common.logger import progress

_CHUNK = 1 << 20
_TIMEOUT = 60
_MIB, _GIB = 1024**2, 1024**3
_NOTHING_LEFT = 416

BROKEN = (urllib.error.URLError, http.client.HTTPException, OSError)
"""What ``download`` raises when a server refuses, breaks off or cannot be reached."""


def download(url: str, target: Path) -> None:
    """Download a file; it appears under its name only when whole and checked.

    An interrupted download goes on where it stopped, unless the server's file has changed since.
    Length and MD5 are compared with what the server says of the file.

    Args:
        url: Where it is.
        target: Where it goes; what came so far is kept beside it as ``.part``.
    Raises:
        OSError: The server cannot be reached, or sent something else than it announced.
        ResourceError: It is larger than the free disk.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part, tag = (target.with_name(f"{target.name}.{end}") for end in ("part", "part.tag"))
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url)
    if have:
        request.add_header("Range", f"bytes={have}-")
        if tag.is_file():
            request.add_header("If-Range", tag.read_text(encoding="utf-8"))
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != _NOTHING_LEFT:  # the part is whole, or wrong
            raise
        _check(part, error.headers, whole=True)
        _finish(part, tag, target)
        return
    with response:
        # A server that ignores the range, or has another file now, sends it from its beginning.
        have = have if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0
        rest = int(response.headers.get("Content-Length") or 0)
        check_room(rest, target.parent, what=url)
        _remember(tag, response.headers)
        _save(response, part, have=have, rest=rest, name=target.name)
        if rest and part.stat().st_size < have + rest:
            raise OSError(
                f"the connection broke after {part.stat().st_size} of {have + rest} bytes"
            )
        _check(part, response.headers)
    _finish(part, tag, target)


def _save(
    response: http.client.HTTPResponse, part: Path, *, have: int, rest: int, name: str
) -> None:
    with (
        part.open("ab" if have else "wb") as file,
        progress(total=have + rest or None, initial=have, desc=name, unit="B") as bar,
    ):
        while chunk := response.read(_CHUNK):
            try:
                file.write(chunk)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise ResourceError(
                    f"The disk is full while writing {part}: make room and run the same command "
                    "again to go on."
                ) from error
            bar.update(len(chunk))


def explain(url: str, error: BaseException, *, by_hand: str) -> AccessError:
    """Why a download failed and what to do, in one sentence.

    Args:
        url: What was asked for.
        error: What ``download`` raised.
        by_hand: What to do without it, as ``name the saved file``.
    """
    code = error.code if isinstance(error, urllib.error.HTTPError) else None
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if code in (404, 410):
        return AccessError(
            f"{url} is not there any more ({reason}): get it elsewhere by hand and {by_hand}."
        )
    if code in (401, 403):
        return AccessError(
            f"{url} may not be read without access ({reason}): get access, download it by hand in "
            f"a browser and {by_hand}."
        )
    return AccessError(
        f"{url} could not be downloaded ({reason}): run the same command again to go on with what "
        f"came so far, or get it by hand and {by_hand}."
    )


def check_room(size: int, folder: Path, *, what: str) -> None:
    """See that a file fits.

    Raises:
        ResourceError: It does not.
    """
    free = shutil.disk_usage(folder).free
    if size > free:
        raise ResourceError(
            f"{what} needs {_amount(size)} more and {_amount(free)} are free at {folder}: make "
            "room, or choose another folder."
        )


def _amount(size: int) -> str:
    return f"{size / _GIB:.1f} GiB" if size >= _GIB else f"{size / _MIB:.1f} MiB"


def record_path(file: Path) -> Path:
    """Where the checksum of a file is kept, in the form that ``sha256sum -c`` reads."""
    return file.with_name(f"{file.name}.sha256")


def write_record(file: Path) -> str:
    """Note the SHA-256 of a file beside it, and return it."""
    digest = sha256_of(file)
    record_path(file).write_text(f"{digest}  {file.name}\n", encoding="utf-8")
    return digest


def noted_sha256(file: Path) -> str:
    """The SHA-256 noted beside a file; it is noted now where none is."""
    record = record_path(file)
    if not record.is_file():
        return write_record(file)
    return record.read_text(encoding="utf-8").split()[0]


def check_record(file: Path, *, expected: str | None = None) -> None:
    """Compare a file with a given checksum, else with the one noted beside it, if any.

    Raises:
        DataError: They differ.
    """
    record = record_path(file)
    if expected is None and not record.is_file():
        return
    wanted = expected or record.read_text(encoding="utf-8").split()[0]
    if (found := sha256_of(file)) != wanted.lower():
        raise DataError(
            f"{file} has the SHA-256 {found} instead of {wanted}: it is broken or another file; "
            "remove it and get it again."
        )


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's content, with a progress bar."""
    digest = hashlib.sha256()
    size = file.stat().st_size
    with (
        file.open("rb") as content,
        progress(total=size, desc=f"Checking {file.name}", unit="B") as bar,
    ):
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()


def _remember(tag: Path, headers: Message) -> None:
    """Note what tells this version of the server's file from another."""
    strong = headers.get("ETag")
    known = strong if strong and not strong.startswith("W/") else headers.get("Last-Modified")
    if known:
        tag.write_text(known, encoding="utf-8")
    else:
        tag.unlink(missing_ok=True)


def _finish(part: Path, tag: Path, target: Path) -> None:
    part.replace(target)
    tag.unlink(missing_ok=True)


def _check(part: Path, headers: Message, *, whole: bool = False) -> None:
    """Compare with the MD5 that the server declares; a part that differs is removed."""
    declared = _declared_md5(headers)
    if declared is None:
        if not whole:
            return
        part.unlink()
        raise OSError("what was downloaded before cannot be continued; start again")
    with part.open("rb") as file:
        if hashlib.file_digest(file, "md5").digest() != declared:
            part.unlink()
            raise OSError("the file differs from the checksum that the server declares")


def _declared_md5(headers: Message) -> bytes | None:
    """Google Cloud Storage's and Drive's header, or the older common one."""
    for value in headers.get_all("x-goog-hash") or []:
        for item in value.split(","):
            name, _, digest = item.strip().partition("=")
            if name == "md5":
                return base64.b64decode(digest)
    declared = headers.get("Content-MD5")
    return base64.b64decode(declared) if declared else None

"""Files of Google Drive, by their ids."""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

from minigpt4.common.download import BROKEN, check_room, download
from minigpt4.common.errors import AccessError, UserError

logger = logging.getLogger(__name__)

DRIVE_ID = re.compile(r"[\w-]{25,60}")
ENDPOINT = "MINIGPT4_DRIVE_ENDPOINT"
"""Environment variable: a mirror that serves ``<endpoint>/uc?id=<id>`` as plain files."""
_TIMEOUT = 60
_RETRIES = 3


def from_drive(ids: Sequence[str], target: Path, *, by_hand: str) -> None:
    """Download the first of several ids that works.

    Args:
        ids: Usually one; several where sources print an id differently.
        target: Where the file goes; what came so far is kept beside it.
        by_hand: What to do with a file that was saved in a browser.

    Raises:
        AccessError: None of them can be had.
        ResourceError: The disk is too small.
    """
    refused = []
    for drive_id in ids:
        try:
            _get(drive_id, target)
            return
        except AccessError as error:
            refused.append(str(error))
            if drive_id != ids[-1]:
                logger.warning("%s; trying the other spelling of the id", error)
    address = " or ".join(f"https://drive.google.com/uc?id={each}" for each in ids)
    raise AccessError(
        f"Google Drive did not give the file ({'; '.join(refused)}): run the same command again to "
        f"go on with what came so far, or open {address} in a browser, save it and {by_hand}."
    )


def _get(drive_id: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own, so that what came of one id is never continued with another.
    partial = target.with_name(f"{target.name}.{drive_id}")
    if endpoint := os.environ.get(ENDPOINT):
        url = f"{endpoint.rstrip('/')}/uc?id={drive_id}"
        try:
            download(url, partial)
        except BROKEN as error:
            raise AccessError(f"{url}: {_first_words(error)}") from error
    else:
        _gdown(drive_id, partial)
    _refuse_a_page(drive_id, partial)
    partial.replace(target)


def _gdown(drive_id: str, partial: Path) -> None:
    import gdown

    def see_room(done: int, total: int | None) -> None:
        if total is not None:
            check_room(total - done, partial.parent, what=f"the file {drive_id} of Google Drive")

    try:
        found = gdown.download(
            id=drive_id,
            output=str(partial),
            resume=True,
            timeout=_TIMEOUT,
            retries=_RETRIES,
            progress=see_room,
        )
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise AccessError(f"{drive_id}: {_first_words(error)}") from error
    if found is None or not partial.is_file():
        raise AccessError(f"{drive_id}: no file came")


def _refuse_a_page(drive_id: str, file: Path) -> None:
    """A page instead of the file: the quota is used up, or the file needs a login."""
    with file.open("rb") as content:
        start = content.read(512).lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        file.unlink()
        raise AccessError(f"{drive_id}: a page came instead of the file")


def _first_words(error: BaseException) -> str:
    """The first sentence of a message that may be several paragraphs."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) if lines else type(error).__name__

"""Public encoder weights: downloaded once, resumed when interrupted, checked."""

from __future__ import annotations

import base64
import hashlib
import http.client
import logging
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path

from minigpt4.common.errors import AccessError
from minigpt4.common.logger import progress

logger = logging.getLogger(__name__)

EVA_URL = (
    "https://storage.googleapis.com/sfr-vision-language-research/LAVIS/models/BLIP2/eva_vit_g.pth"
)
_CHUNK = 1 << 20
_TIMEOUT = 60


def eva_vit_g(url: str = EVA_URL) -> Path:
    """The public EVA-CLIP weights of BLIP-2 (about 1.9 GB), in torch's hub folder.

    Raises:
        AccessError: They are not there and cannot be downloaded.
    """
    import torch

    target = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    if not target.is_file():
        logger.info("downloading %s to %s", url, target)
        try:
            download(url, target)
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            raise AccessError(
                f"The encoder's public weights cannot be downloaded from {url} ({error}): "
                f"download them elsewhere and put them at {target}, or name a file in "
                "model.vit_weights; what came so far is kept and continued."
            ) from error
    return target


def download(url: str, target: Path) -> None:
    """Download a file; it appears under its name only when whole and checked.

    An interrupted download goes on where it stopped. Length and MD5 are compared with what the
    server says of the file.

    Args:
        url: Where it is.
        target: Where it goes; what came so far is kept beside it as ``.part``.
    Raises:
        OSError: The server cannot be reached, or sent something else than it announced.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # nothing left to send: the part is whole, or wrong
            raise
        _check(part, error.headers, whole=True)
        part.replace(target)
        return
    with response:
        resumed = response.status == 206
        rest = int(response.headers.get("Content-Length") or 0)
        with part.open("ab" if resumed else "wb") as file:
            chunks = iter(lambda: response.read(_CHUNK), b"")
            for chunk in progress(chunks, total=-(-rest // _CHUNK) or None, desc=target.name):
                file.write(chunk)
        expected = (have if resumed else 0) + rest
        if rest and part.stat().st_size < expected:
            raise OSError(f"the connection broke after {part.stat().st_size} of {expected} bytes")
        _check(part, response.headers)
    part.replace(target)


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
    for value in headers.get_all("x-goog-hash") or []:
        for item in value.split(","):
            name, _, digest = item.strip().partition("=")
            if name == "md5":
                return base64.b64decode(digest)
    return None

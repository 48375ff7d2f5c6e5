"""Gets a folder of files from wherever it is: local, git, Google Drive, the hub or a URL."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from minigpt4.common.errors import AccessError, DataError
from minigpt4.common.logger import progress
from minigpt4.datasets.prepare.archives import is_archive, unpack

logger = logging.getLogger(__name__)

_DRIVE_ID = re.compile(r"[\w-]{25,60}")
_BLOCK = 1 << 20
_TIMEOUT = 60


def fetch(source: str, scratch: Path) -> Path:
    """Bring a source to a local folder.

    Args:
        source: A folder or archive here; ``git+<url>`` or a URL that ends in ``.git``;
            ``gdrive:<id>`` or a bare Google Drive id; ``hub:<owner>/<name>`` (a data set);
            ``http(s)://`` or ``file://`` URL of an archive.
        scratch: Folder for downloads; one that was finished before is used again.

    Returns:
        The folder; a local folder is returned as it is.

    Raises:
        AccessError: The download was refused or is gone.
        DataError: There is nothing of that name, or the archive is broken or not safe.
    """
    local = Path(source).expanduser()
    if local.is_dir():
        return local
    scratch.mkdir(parents=True, exist_ok=True)
    if local.is_file():
        return _unpacked(local, scratch)
    if source.startswith("git+") or source.endswith(".git"):
        return _git(source.removeprefix("git+"), scratch / "git")
    if source.startswith("hub:"):
        return _hub(source.removeprefix("hub:"), scratch / "hub")
    if "://" in source:
        return _unpacked(_url(source, scratch), scratch)
    drive_id = source.removeprefix("gdrive:")
    if source.startswith("gdrive:") or _DRIVE_ID.fullmatch(source):
        return _unpacked(_drive(drive_id, scratch), scratch)
    raise DataError(
        f"there is no {source!r} here; name a folder, an archive, git+<url>, gdrive:<id>, "
        "hub:<owner>/<name> or a URL."
    )


def _unpacked(file: Path, scratch: Path) -> Path:
    if not is_archive(file):
        raise DataError(f"{file} is neither a folder nor a .zip or .tar archive.")
    target = scratch / f"{file.name}.files"
    if target.is_dir():
        return target
    partial = scratch / f"{file.name}.files.tmp"
    shutil.rmtree(partial, ignore_errors=True)
    unpack(file, partial)
    partial.replace(target)
    return target


def _git(url: str, target: Path) -> Path:
    if (target / ".git").is_dir():
        return target
    shutil.rmtree(target, ignore_errors=True)
    command = ["git", "clone", "--quiet", "--depth", "1", "--", url, str(target)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise AccessError(
            f"git is not installed: get {url} by hand and name its folder."
        ) from error
    except subprocess.CalledProcessError as error:
        reason = (
            error.stderr.strip().splitlines()[-1] if error.stderr.strip() else "no reason given"
        )
        raise AccessError(
            f"git could not clone {url} ({reason}): get it by hand and name its folder."
        ) from error
    return target


def _hub(name: str, target: Path) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, repo_type="dataset", local_dir=target))
    except Exception as error:
        raise AccessError(
            f"the hub did not give the data set {name} ({_first_line(error)}): check its name, "
            "accept its licence on the hub and set HF_TOKEN, or get it by hand."
        ) from error


def _drive(drive_id: str, scratch: Path) -> Path:
    import gdown

    done = scratch / f"{drive_id}.archive"
    if done.is_file():
        return done
    partial = scratch / f"{drive_id}.tmp"
    try:
        found = gdown.download(id=drive_id, output=str(partial), resume=True)
    except Exception as error:
        raise AccessError(_drive_refused(drive_id, _first_line(error))) from error
    if found is None or not partial.is_file():
        raise AccessError(_drive_refused(drive_id, "no file came"))
    partial.replace(done)
    return done


def _drive_refused(drive_id: str, reason: str) -> str:
    return (
        f"Google Drive did not give the file {drive_id} ({reason}): open "
        f"https://drive.google.com/uc?id={drive_id} in a browser, save it and name the saved file."
    )


def _url(url: str, scratch: Path) -> Path:
    name = url.split("?")[0].rstrip("/").rpartition("/")[2] or "download"
    done, partial = scratch / name, scratch / f"{name}.tmp"
    if done.is_file():
        return done
    start = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
            # A server that ignores the range sends the file from its beginning.
            resumed = start > 0 and getattr(answer, "status", None) == 206
            length = answer.headers.get("Content-Length")
            total = int(length) + (start if resumed else 0) if length else None
            with (
                partial.open("ab" if resumed else "wb") as file,
                progress(
                    total=total, initial=start if resumed else 0, desc=f"Getting {name}", unit="B"
                ) as bar,
            ):
                while block := answer.read(_BLOCK):
                    file.write(block)
                    bar.update(len(block))
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise AccessError(
            f"{url} could not be downloaded ({_first_line(error)}): run the same command again to "
            "go on, or get it by hand and name the saved file."
        ) from error
    if total is not None and partial.stat().st_size != total:
        raise AccessError(f"{url} was cut short: run the same command again to go on.")
    partial.replace(done)
    return done


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

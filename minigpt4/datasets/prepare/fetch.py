"""Gets a folder of files from wherever it is: local, git, Google Drive, the hub or a URL."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from minigpt4.common.download import (
    BROKEN,
    check_record,
    download,
    explain,
    record_path,
    write_record,
)
from minigpt4.common.errors import AccessError, DataError
from minigpt4.datasets.prepare.archives import is_archive, unpack
from minigpt4.datasets.prepare.drive import DRIVE_ID, from_drive


def fetch(source: str, scratch: Path) -> Path:
    """Bring a source to a local folder.

    Args:
        source: A folder or archive here; ``git+<url>`` or a URL that ends in ``.git``;
            ``gdrive:<id>`` or a bare Google Drive id (several spellings of one joined by ``|``);
            ``hub:<owner>/<name>`` (a data set); ``http(s)://`` or ``file://`` URL of an archive.
        scratch: Folder for downloads; one that was finished before is used again when its noted
            checksum still fits.

    Returns:
        The folder; a local folder is returned as it is.

    Raises:
        AccessError: The download was refused or is gone.
        DataError: There is nothing of that name, or the archive is broken or not safe.
        ResourceError: The disk is too small.
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
    ids = source.removeprefix("gdrive:").split("|")
    if source.startswith("gdrive:") or all(map(DRIVE_ID.fullmatch, ids)):
        return _unpacked(_drive(ids, scratch), scratch)
    raise DataError(
        f"there is no {source!r} here; name a folder, an archive, git+<url>, gdrive:<id>, "
        "hub:<owner>/<name> or a URL."
    )


def _unpacked(file: Path, scratch: Path) -> Path:
    target = scratch / f"{file.name}.files"
    if target.is_dir():
        return target
    check_record(file)
    if not is_archive(file):
        raise DataError(
            f"{file} is no .zip or .tar archive, or broken: remove it and get it again."
        )
    partial = scratch / f"{file.name}.files.tmp"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        unpack(file, partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    partial.replace(target)
    return target


def _git(url: str, target: Path) -> Path:
    if (target / ".git").is_dir():
        return target
    partial = target.with_name(f"{target.name}.tmp")
    shutil.rmtree(partial, ignore_errors=True)
    command = ["git", "clone", "--quiet", "--depth", "1", "--", url, str(partial)]
    # A repository that is gone asks for a password, which nobody would answer.
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
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
    partial.replace(target)
    return target


def _hub(name: str, target: Path) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                name,
                repo_type="dataset",
                local_dir=target,
                endpoint=os.environ.get("HF_ENDPOINT"),
            )
        )
    except Exception as error:
        raise AccessError(
            f"the hub did not give the data set {name} ({_first_line(error)}): check its name, "
            "accept its licence on the hub and set HF_TOKEN, or get it by hand."
        ) from error


def _drive(ids: list[str], scratch: Path) -> Path:
    done = scratch / f"{ids[0]}.archive"
    if not _is_done(done):
        from_drive(ids, done, by_hand="name the saved file")
        write_record(done)
    return done


def _url(url: str, scratch: Path) -> Path:
    name = url.split("?")[0].rstrip("/").rpartition("/")[2] or "download"
    done = scratch / name
    if not _is_done(done):
        try:
            download(url, done)
        except BROKEN as error:
            raise explain(url, error, by_hand="name the saved file") from error
        write_record(done)
    return done


def _is_done(file: Path) -> bool:
    return file.is_file() and record_path(file).is_file()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

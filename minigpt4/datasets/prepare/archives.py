"""Unpacks archives from elsewhere: nothing leaves the target, and sizes have bounds."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

from minigpt4.common.download import check_room
from minigpt4.common.errors import DataError, ResourceError
from minigpt4.common.logger import progress

MAX_BYTES = 500 * 1024**3
"""Most that an archive may hold unpacked."""
MAX_FILES = 5_000_000


def is_archive(file: Path) -> bool:
    """Whether a file is a zip or tar archive that ``unpack`` reads."""
    return zipfile.is_zipfile(file) or tarfile.is_tarfile(file)


def unpack(archive: Path, target: Path) -> None:
    """Unpack the plain files of a zip or tar archive.

    Args:
        archive: The archive.
        target: Folder that is made for its content.

    Raises:
        DataError: It is broken, or holds paths outside of the target, links or devices.
        ResourceError: Unpacked it would be larger than its bounds or the free disk.
    """
    target.mkdir(parents=True, exist_ok=True)
    try:
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, target)
        else:
            _unpack_tar(archive, target)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise DataError(f"the archive {archive} is broken ({error}): get it again.") from error


def _unpack_zip(archive: Path, target: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        members = [member for member in file.infolist() if not member.is_dir()]
        for member in members:
            if stat.S_ISLNK(member.external_attr >> 16):
                raise DataError(f"the archive {archive} holds a link ({member.filename}): refused.")
        _check(archive, target, [(member.filename, member.file_size) for member in members])
        for member in progress(members, desc=f"Unpacking {archive.name}", unit="file"):
            with file.open(member) as source:
                _save(source, target / member.filename, member.file_size)


def _unpack_tar(archive: Path, target: Path) -> None:
    with tarfile.open(archive) as file:
        members: list[tarfile.TarInfo] = []
        size = 0
        # One by one: a bomb is refused before all of it has been looked through.
        for member in file:
            if member.isdir():
                continue
            if not member.isreg():
                raise DataError(
                    f"the archive {archive} holds a link or device ({member.name}): refused."
                )
            members.append(member)
            size += member.size
            _bound(archive, size, len(members))
        _check(archive, target, [(member.name, member.size) for member in members])
        for member in progress(members, desc=f"Unpacking {archive.name}", unit="file"):
            source = file.extractfile(member)
            assert source is not None
            with source:
                _save(source, target / member.name, member.size)


def _check(archive: Path, target: Path, members: list[tuple[str, int]]) -> None:
    for name, _ in members:
        path = PurePosixPath(name.replace("\\", "/"))
        if not path.parts or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            raise DataError(
                f"the archive {archive} would write outside its folder ({name!r}) and is refused: "
                "get it from where it is published."
            )
    size = sum(size for _, size in members)
    _bound(archive, size, len(members))
    check_room(size, target, what=f"what the archive {archive} holds")


def _bound(archive: Path, size: int, count: int) -> None:
    if size > MAX_BYTES or count > MAX_FILES:
        raise ResourceError(
            f"the archive {archive} holds {count} files of {size} bytes or more, which is hard to "
            "believe: unpack it by hand if you trust it."
        )


def _save(source: object, path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        # The stated size was checked; a member that holds more is lying.
        left = size
        while block := source.read(min(1 << 20, left + 1)):  # type: ignore[attr-defined]
            left -= len(block)
            if left < 0:
                raise DataError(f"{path.name} is larger than its archive says: refused.")
            file.write(block)

"""Annotation files that are not there, fetched from where an entry says (``url``)."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minigpt4.common.download import BROKEN, download, explain
from minigpt4.common.errors import ConfigError, DataError
from minigpt4.datasets.spec import annotation_entry, annotation_paths, as_strings

logger = logging.getLogger(__name__)


def fetch_annotations(build_info: Mapping[str, Any], split: str, *, name: str) -> None:
    """Download what ``annotations.<split>.storage`` names and is missing, each from its ``url``.

    Processes that ask for the same file wait for the first of them.

    Args:
        build_info: Of the entry; one with ``ann_path`` names its files itself.
        split: Which one is to be opened.
        name: The entry's name, for messages.

    Raises:
        ConfigError: There are not as many addresses as files.
        AccessError: A download was refused or is gone.
        DataError: A file is not the one that ``md5`` says.
    """
    entry = annotation_entry(build_info, split)
    files, urls = annotation_paths(build_info, split), as_strings(entry.get("url"))
    if files != as_strings(entry.get("storage") or entry.get("path")):
        return
    if not urls or all(Path(file).exists() for file in files):
        return
    where = f"datasets.{name}.build_info.annotations.{split}"
    sums = as_strings(entry.get("md5")) or ("",) * len(files)
    if not len(files) == len(urls) == len(sums):
        raise ConfigError(
            f"{where} has {len(files)} files (storage), {len(urls)} addresses (url) and "
            f"{len(sums)} checksums (md5): give as many of each, or remove url and md5."
        )
    for file, url, md5 in zip(files, urls, sums, strict=True):
        _fetch(url, Path(file), md5=md5, where=where)


def _fetch(url: str, target: Path, *, md5: str, where: str) -> None:
    from filelock import FileLock

    if target.exists() or not url.startswith(("http://", "https://")):
        return
    fresh = target.with_name(f"{target.name}.new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            if target.exists():
                return
            logger.info("downloading %s to %s", url, target)
            download(url, fresh)
            _check(fresh, md5, url)
            fresh.replace(target)
    except BROKEN as error:
        raise explain(url, error, by_hand=f"save it as {target} ({where}.storage)") from error


def _check(file: Path, md5: str, url: str) -> None:
    if not md5:
        return
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "md5").hexdigest()
    if found != md5.lower():
        file.unlink()
        raise DataError(
            f"{url} sent a file with the MD5 {found} instead of {md5}: it is broken or has "
            "changed; get it again, or remove md5 from annotations if you trust it."
        )

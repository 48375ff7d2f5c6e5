"""Fetches weights: MiniGPT-v2's checkpoint, the image encoder, the language model."""

from __future__ import annotations

import errno
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minigpt4.common.download import (
    check_record,
    check_room,
    noted_sha256,
    sha256_of,
)
from minigpt4.common.errors import AccessError, DataError, UserError
from minigpt4.datasets.prepare.drive import from_drive

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

STAGE_3 = "1HkoUUrjzFGn33cSiUkI-KcT-zysCynAz"
LLAMA = "meta-llama/Llama-2-7b-chat-hf"
_NEEDED = (".json", ".model", ".safetensors")
_TORCH = (".bin",)
_PICKLE = b"\x80"


def fetch_checkpoint(target: Path, *, drive_id: str = STAGE_3, sha256: str | None = None) -> str:
    """Get MiniGPT-v2's checkpoint of its third stage.

    One that is there is checked instead of fetched again.

    Args:
        target: Where it goes.
        drive_id: Its id at Google Drive.
        sha256: What its checksum must be; None for the one noted beside it, if any.

    Returns:
        A line on what was done.

    Raises:
        AccessError: It cannot be had.
        DataError: It is not what it should be.
    """
    there = target.is_file()
    if not there:
        from_drive([drive_id], target, by_hand=f"put it at {target}")
    with target.open("rb") as file:
        start = file.read(1)
    if not zipfile.is_zipfile(target) and start != _PICKLE:
        raise DataError(f"{target} is no checkpoint of torch: remove it and get it again.")
    check_record(target, expected=sha256)
    done = "already there" if there else "fetched"
    return f"{done}: {target} (SHA-256 {noted_sha256(target)})"


def fetch_encoder(url: str | None = None) -> str:
    """Get the image encoder's public weights into torch's hub folder; see ``eva_vit_g``."""
    from minigpt4.models.vision.download import EVA_URL, eva_vit_g

    path = eva_vit_g(url or os.environ.get("MINIGPT4_EVA_URL") or EVA_URL)
    check_record(path)
    return f"ready: {path} (SHA-256 {noted_sha256(path)})"


def fetch_language_model(name: str = LLAMA, *, folder: Path | None = None) -> str:
    """Get a language model from the hub with the user's token.

    Only what loading needs is fetched: configuration, tokenizer and safetensors, or torch's files
    where there are none. Every large file is compared with the SHA-256 that the hub declares.

    Args:
        name: Its id.
        folder: Where it goes; None for the hub's cache, where ``llama_model: <id>`` finds it.

    Returns:
        A line on what was done.

    Raises:
        AccessError: It is gated, unknown, or the hub cannot be reached.
        DataError: A file differs from its declared checksum.
        ResourceError: The disk is too small.
    """
    from huggingface_hub import HfApi, constants, snapshot_download

    from minigpt4.models.hub import explain, hub_token

    endpoint = os.environ.get("HF_ENDPOINT")
    try:
        api = HfApi(endpoint=endpoint, token=hub_token())
        siblings = api.model_info(name, files_metadata=True).siblings or []
        wanted = _wanted(siblings)
        place = folder or Path(constants.HF_HUB_CACHE)
        place.mkdir(parents=True, exist_ok=True)
        check_room(_missing_bytes(wanted, folder), place, what=name)
        found = Path(
            snapshot_download(
                name,
                allow_patterns=[each.rfilename for each in wanted],
                local_dir=folder,
                token=hub_token(),
                endpoint=endpoint,
            )
        )
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        said = explain(name, error)
        raise (said if isinstance(said, AccessError) else _refused(name, error)) from error
    for each in wanted:
        declared = _declared(each)
        if declared is not None and sha256_of(found / each.rfilename) != declared:
            raise DataError(
                f"{found / each.rfilename} differs from what the hub declares: remove it and run "
                "the same command again."
            )
    return f"ready: {found} ({len(wanted)} files, checked); model.llama_model: {folder or name}"


def _refused(name: str, error: Exception) -> AccessError:
    status = getattr(getattr(error, "response", None), "status_code", None)
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    if status in (401, 403):
        return AccessError(
            f"the hub does not accept your token for {name} ({line}): run `hf auth login` again, "
            "or set HF_TOKEN to a valid token of an account that accepted the licence at "
            f"https://huggingface.co/{name}."
        )
    return AccessError(
        f"the hub did not give {name} ({line}): run the same command again to go on, or get it by "
        "hand and name its folder in model.llama_model."
    )


def _wanted(siblings: list[RepoSibling]) -> list[RepoSibling]:
    """Files in the model's own folder that loading reads."""
    top = [each for each in siblings if "/" not in each.rfilename]
    safe = any(each.rfilename.endswith(".safetensors") for each in top)
    endings = _NEEDED if safe else (*_NEEDED, *_TORCH)
    chosen = [each for each in top if each.rfilename.endswith(endings)]
    if safe:  # the index of torch's files, which are not fetched
        chosen = [each for each in chosen if not each.rfilename.endswith(".bin.index.json")]
    return chosen


def _missing_bytes(wanted: list[RepoSibling], folder: Path | None) -> int:
    if folder is None:  # what the hub's cache has already is its own affair
        from huggingface_hub import constants

        cache = Path(constants.HF_HUB_CACHE)
        return sum(
            each.size or 0 for each in wanted if not any(cache.glob(f"*/blobs/{_declared(each)}"))
        )
    return sum(each.size or 0 for each in wanted if not (folder / each.rfilename).is_file())


def _declared(sibling: RepoSibling) -> str | None:
    """The SHA-256 of a large file; small ones have none."""
    lfs: Any = sibling.lfs
    if lfs is None:
        return None
    found = lfs["sha256"] if isinstance(lfs, dict) else lfs.sha256
    return str(found)

"""Where a language model comes from, and what to do when it cannot be had."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from minigpt4.common.errors import AccessError, ResourceError, UserError, WeightsError

WEIGHT_FILES = ("*.safetensors", "pytorch_model*.bin")
TOKENIZER_FILES = (
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
_KEY = "model.llama_model"


@dataclass(frozen=True, slots=True)
class Source:
    """A language model that was named by ``model.llama_model``.

    Attributes:
        name: Folder, or id on the hub.
        gguf: File within the folder, when that is what was named.
        on_hub: Whether ``name`` is an id.
    """

    name: str
    gguf: str | None = None
    on_hub: bool = False

    @property
    def has_weights(self) -> bool:
        """False for a folder with a configuration only."""
        if self.on_hub or self.gguf:
            return True
        return any(any(Path(self.name).glob(pattern)) for pattern in WEIGHT_FILES)

    def tokenizer_folder(self) -> Path:
        """The folder with the tokenizer's files; those of a hub model are downloaded."""
        if not self.on_hub:
            return Path(self.name)
        from huggingface_hub import snapshot_download

        folder = snapshot_download(
            self.name, allow_patterns=list(TOKENIZER_FILES), token=hub_token()
        )
        return Path(folder)


def hub_token() -> str | None:
    """The user's token from the environment; None lets the hub's own login apply."""
    return os.environ.get("HF_TOKEN") or None


def locate(name: str) -> Source:
    """Find out what ``model.llama_model`` names; a hub model must be cached or accessible.

    Raises:
        WeightsError: A folder or file that is not there or holds no model.
        AccessError: A hub model that may not be had, or no network.
    """
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise WeightsError(f"The GGUF file {path} ({_KEY}) does not exist: correct the path.")
        return Source(str(path.parent), gguf=path.name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise WeightsError(
                f"{path} ({_KEY}) holds no config.json: name the folder of a transformers model."
            )
        return Source(str(path))
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        raise WeightsError(
            f"The folder {name} ({_KEY}) does not exist: correct the path, or name a model on the "
            "hub such as meta-llama/Llama-2-7b-chat-hf."
        )
    _check_access(name)
    return Source(name, on_hub=True)


def _check_access(repository: str) -> None:
    """Ask the hub once, instead of waiting for the retries of a download that cannot work."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(repository, "config.json"), str):
        return
    try:
        HfApi(token=hub_token()).auth_check(repository)
    except Exception as error:
        raise explain(repository, error) from error


def explain(name: str, error: BaseException) -> UserError:
    """What went wrong while loading, and the remedy, in one sentence."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    kinds = {parent.__name__ for each in causes for parent in type(each).__mro__}
    if "GatedRepoError" in kinds:
        return AccessError(
            f"{name} ({_KEY}) is gated: accept its licence at https://huggingface.co/{name}, then "
            "run `hf auth login` (formerly `huggingface-cli login`) or set HF_TOKEN to a token of "
            "that account."
        )
    if kinds & {"RepositoryNotFoundError", "HFValidationError"}:
        return AccessError(
            f"{name} ({_KEY}) is neither a folder here nor a model on the hub that you may see: "
            "correct the name, or set HF_TOKEN if it is private."
        )
    network = {"LocalEntryNotFoundError", "NetworkError", "TimeoutException", "ConnectionError"}
    if kinds & network:
        return AccessError(
            f"{name} ({_KEY}) is not a folder here and the hub cannot be reached: download it "
            "while online, or name a folder."
        )
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    if "ImportError" in kinds:
        return ResourceError(f"{name} ({_KEY}) cannot be loaded on this machine: {line}")
    return WeightsError(f"{name} ({_KEY}) cannot be loaded as a causal language model: {line}")

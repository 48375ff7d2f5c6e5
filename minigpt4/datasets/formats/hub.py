"""Data sets of the hub, or saved by the ``datasets`` library."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minigpt4.common.errors import AccessError, ConfigError, DataError, UserError
from minigpt4.datasets.formats.arrow_rows import BATCH, arrow_table
from minigpt4.datasets.readers import ReaderOptions
from minigpt4.datasets.table import Table

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

_SAVED = ("dataset_dict.json", "state.json")
_SPLITS = {
    "train": ("train", "training"),
    "val": ("validation", "val", "valid", "dev", "eval"),
    "test": ("test", "validation", "val", "valid", "dev", "eval"),
}
"""What the splits are called elsewhere; a set without test data is tested on its validation."""
_OFFLINE = {
    "ConnectionError", "OfflineModeIsEnabled", "LocalEntryNotFoundError", "TimeoutError",
    "NetworkError", "ConnectError",
}  # fmt: skip


def read_hub(path: Path, options: ReaderOptions) -> Table:
    """One split of a data set.

    The columns are the set's; numbers of classes become their names, and pictures become files (see
    ``arrow_table``).

    Args:
        path: ``owner/name`` on the hub, or a local folder: one written by ``save_to_disk``, or of
            files that ``load_dataset`` understands.
        options: ``build_info.reader_options`` may hold ``config`` (its configuration), ``split``
            (by name, also a slice such as ``train[:10%]``), ``revision`` and ``data_files``.

    Raises:
        AccessError: It is not there, gated, private, or the hub cannot be reached.
        ConfigError: It has no such split or configuration.
        DataError: It is of a kind that is not read.
    """
    name = path.as_posix()
    data = _load(name, options)
    split = data.split or options.split
    table = arrow_table(_batches(data), source=f"{name} ({split})")
    lists = set(_class_lists(data.features))
    table.classes = lists.pop() if len(lists) == 1 else ()
    return table


def _load(name: str, options: ReaderOptions) -> Dataset:
    from datasets import DatasetDict, load_dataset, load_from_disk

    extra, folder = options.extra, Path(name).expanduser()
    try:
        if any((folder / each).is_file() for each in _SAVED):
            found: Any = load_from_disk(str(folder))
        elif "split" in extra and "[" in extra["split"]:
            return load_dataset(str(folder), split=extra["split"], **_arguments(extra))
        else:
            found = load_dataset(str(folder), **_arguments(extra))
    except Exception as error:
        raise explain(name, error) from error
    if not isinstance(found, DatasetDict):
        return found
    wanted = [extra["split"]] if "split" in extra else _SPLITS.get(options.split, [options.split])
    split = next((each for each in wanted if each in found), None)
    if split is None:
        raise ConfigError(
            f"{name} has no split {wanted[0]!r}, only {', '.join(found)}; name one of them in "
            "build_info.reader_options.split, or set val_share to hold a part of train out."
        )
    if split != wanted[0]:
        logger.info("%s has no split %s: %s is taken", name, wanted[0], split)
    return found[split]


def _arguments(extra: Mapping[str, Any]) -> dict[str, Any]:
    keys = {"config": "name", "revision": "revision", "data_files": "data_files"}
    return {keys[key]: value for key, value in extra.items() if key in keys}


def explain(name: str, error: Exception) -> UserError:
    """What went wrong, and what to do."""
    if isinstance(error, UserError):
        return error
    kinds: set[str] = set()
    cause: BaseException | None = error
    while cause is not None:
        kinds |= {kind.__name__ for kind in type(cause).__mro__}
        cause = cause.__cause__ or cause.__context__
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    if "GatedRepoError" in kinds or "gated" in text.lower():
        return AccessError(
            f"the data set {name} is gated: accept its terms at https://huggingface.co/datasets/"
            f"{name}, then run `hf auth login` or set HF_TOKEN to a token of that account."
        )
    if "Config name is missing" in str(error) or "BuilderConfig" in text:
        lines = " ".join(str(error).split())
        return ConfigError(f"{name}: set build_info.reader_options.config ({lines[:300]})")
    if kinds & {"DatasetNotFoundError", "RepositoryNotFoundError", "FileNotFoundError"}:
        return AccessError(
            f"there is no data set {name} here or on the hub that you may see: correct the name, "
            "or set HF_TOKEN if it is private."
        )
    if kinds & _OFFLINE:
        return AccessError(
            f"the hub cannot be reached for {name} ({text}): try again while online, or download "
            f"it elsewhere (`hf download {name} --repo-type dataset --local-dir DIR`) and name "
            "the folder."
        )
    return DataError(f"the data set {name} cannot be read ({text}).")


def _batches(data: Dataset) -> Iterator[_Rows]:
    labelled = {name: f for name, f in data.features.items() if any(_class_lists(f))}
    for batch in data.with_format("arrow").iter(batch_size=BATCH):
        yield _Rows(batch.to_pylist(), labelled)


class _Rows:
    """Rows whose classes are names, in the place of an Arrow batch."""

    def __init__(self, rows: list[dict[str, Any]], labelled: Mapping[str, Any]) -> None:
        self._rows, self._labelled = rows, labelled

    def to_pylist(self) -> list[dict[str, Any]]:
        """The rows."""
        return [
            row | {name: _decoded(row[name], feature) for name, feature in self._labelled.items()}
            for row in self._rows
        ]


def _class_lists(feature: Any) -> Iterator[tuple[str, ...]]:
    """The names of every feature in a feature whose numbers are classes."""
    if hasattr(feature, "int2str"):
        yield tuple(feature.names)
    elif isinstance(feature, Mapping):
        for part in feature.values():
            yield from _class_lists(part)
    elif (inner := getattr(feature, "feature", None)) is not None:
        yield from _class_lists(inner)


def _decoded(value: Any, feature: Any) -> Any:
    """A value with the names of its classes."""
    if hasattr(feature, "int2str"):
        known = isinstance(value, int) and 0 <= value < len(feature.names)
        return feature.names[value] if known else None
    if isinstance(feature, Mapping) and isinstance(value, dict):
        return {key: _decoded(part, feature.get(key)) for key, part in value.items()}
    inner = getattr(feature, "feature", None)
    if inner is not None and isinstance(value, list):
        return [_decoded(each, inner) for each in value]
    return value

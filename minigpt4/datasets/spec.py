"""``build_info``: how annotations and pictures become samples, checked in one place."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from minigpt4.common.errors import ConfigError
from minigpt4.datasets.filters import where_mistakes
from minigpt4.datasets.patterns import compiled, pattern_columns
from minigpt4.datasets.readers import READERS
from minigpt4.datasets.value_types import type_mistakes

# Keys of older files, understood by ``annotation_paths`` or without a meaning here.
_OLD_KEYS = (
    "annotations", "images", "storage", "data_dir", "url", "md5", "val_ann_path", "test_ann_path",
)  # fmt: skip
# Keys that hold paths, whose bytes count.
_PATHS = {
    "ann_path", "image_path", "annotations", "images", "val_ann_path", "test_ann_path", "storage",
    "reader_options",
}  # fmt: skip
# Options of readers that older files have beside the other keys.
_OLD_READER_OPTIONS = ("dataset", "splitBy")

BOX_FORMS = (
    "grid", "pixels_xyxy", "pixels_xywh", "shares_xyxy", "shares_xywh", "shares_cxcywh", "ready"
)  # fmt: skip


_TASKS = ("refer", "identify", "detection", "objects", "grounding")


@dataclass(kw_only=True, frozen=True)
class RecordSpec:
    """What ``build_info`` may say; each kind of data set has defaults for most of it.

    Patterns are format strings over the columns of a row, see ``Pattern``. A grounding answer may
    also hold ``{boxes}`` and ``{whole}``.
    """

    ann_path: tuple[str, ...] = ()
    """Annotation files."""
    image_path: str | None = None
    """Folder of the pictures; None: that of the first annotation file, or ``images`` in it."""
    reader: str = "auto"
    """Format of the annotation files: a name in ``READERS``; ``auto``: by their ending."""
    reader_options: Mapping[str, Any] | None = None
    """What only that reader understands."""
    where: Mapping[str, Any] | None = None
    """Only rows whose columns are so, see ``rows_where``: ``{split: train}``,
    ``{image: {contains: train}}``."""
    records: str | None = None
    """Key of the list within a JSON file."""
    image: str | None = "{image}"
    """Pattern of a picture's path below ``image_path``; None for text only."""
    more_images: tuple[str, ...] = ()
    """Patterns of further pictures of every row, in the order in which the model sees them; the
    first one, ``image``, decides splits and names the sample."""
    image_name_only: bool = False
    """Use only the last part of that path."""
    fields: Mapping[str, str] | None = None
    """Column of each name that the patterns use, where they differ: ``{question: cau_hoi}``."""
    prompts: tuple[str, ...] = ()
    """Patterns of instructions, with their task tag; training draws one per sample and pass."""
    eval_prompt: str | None = None
    """The pattern of evaluation; None: the last of ``prompts``."""
    answer: str = ""
    """Pattern of the answer; a column that holds a list gives one of its items by lot, so that an
    item that occurs more often is drawn more often."""
    answers: Mapping[str, Mapping[Any, str]] | None = None
    """Column, then its value, to the answer's pattern; instead of ``answer``."""
    process: tuple[str, ...] = ()
    """Columns that the text processor cleans."""
    box_form: str = "grid"
    """``grid``: boxes are x1, y1, x2, y2 in 0-100; ``pixels_xyxy`` and ``pixels_xywh`` (left, top,
    width, height): in pixels of a picture of ``width`` by ``height``; ``shares_xyxy``,
    ``shares_xywh`` and ``shares_cxcywh`` (centre, width, height): in shares of them, 0-1;
    ``ready``: already written as in answers."""
    task: str | None = None
    """What sets the defaults: of grounding ``refer``, ``identify``, ``detection`` (of defects) or
    ``objects`` (of any classes); of captions ``grounding`` for those with boxes."""
    classes: tuple[str, ...] = ()
    """Objects: names of the classes to find, in the order of answers; empty: all there are."""
    per: str = "picture"
    """Objects: what a sample is: a ``picture`` with all its objects, or a ``category`` of it."""
    empty_answer: str = "none"
    """Objects: the answer where there is none."""
    turns: int | None = None
    """Conversations: only the first so many turns."""
    on_broken: str = "error"
    """A missing or unreadable picture in training: ``error``, or ``skip`` (counted, reported)."""
    on_bad_row: str = "error"
    """A row that cannot be used in training (no answer, a box without area): ``error``, or
    ``skip`` (counted, reported)."""
    val_share: float = 0.0
    """Share of the pictures kept from split ``train`` as split ``val``, where that has no file."""

    @property
    def evaluation_prompt(self) -> str:
        """The one pattern used outside of training."""
        return self.eval_prompt if self.eval_prompt is not None else self.prompts[-1]

    @property
    def pictures(self) -> int:
        """Pictures of a sample."""
        return 0 if self.image is None else 1 + len(self.more_images)

    @property
    def image_columns(self) -> tuple[str, ...]:
        """Columns that a picture's name is made of."""
        return pattern_columns(self.image or "")

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that the patterns read."""
        patterns = [*self.prompts, self.evaluation_prompt, self.answer]
        for column, by_value in (self.answers or {}).items():
            patterns += [f"{{{column}}}", *by_value.values()]
        found = [column for pattern in patterns for column in pattern_columns(pattern)]
        more = [column for pattern in self.more_images for column in pattern_columns(pattern)]
        return tuple(dict.fromkeys([*self.image_columns, *more, *found]))


def make_spec(
    build_info: Mapping[str, Any], defaults: Mapping[str, Any], *, name: str, split: str
) -> RecordSpec:
    """Check a ``build_info`` over a kind's defaults.

    Args:
        build_info: As merged from the YAML files.
        defaults: What the kind of data set fills in.
        name: The data set's name, for messages.
        split: ``train`` or another split, which chooses the annotation files.

    Raises:
        ConfigError: Lists every unknown key and wrong value at once.
    """
    known = {field.name for field in fields(RecordSpec)}
    build_info = {k: v if k in _PATHS else _composed(v) for k, v in build_info.items()}
    mistakes = []
    for key in build_info:
        if key not in (*known, *_OLD_KEYS, *_OLD_READER_OPTIONS):
            near = difflib.get_close_matches(key, [*known, *_OLD_KEYS], n=1)
            hint = f", did you mean {near[0]!r}?" if near else ""
            mistakes.append(f"unknown key {key!r}{hint}")
    wrong = type_mistakes(build_info, RecordSpec)
    if wrong:
        raise ConfigError(f"datasets.{name}.build_info: {'; '.join([*mistakes, *wrong])}.")
    reader = READERS.get(build_info.get("reader", "auto"))
    form = reader.form if reader is not None else {}
    values = {**defaults, **form, **{k: v for k, v in build_info.items() if k in known}}
    values["reader_options"] = {
        **{key: build_info[key] for key in _OLD_READER_OPTIONS if key in build_info},
        **(values.get("reader_options") or {}),
    }
    values["ann_path"] = annotation_paths(build_info, split)
    if not values["ann_path"] and reader is not None and reader.splits:
        values["ann_path"] = annotation_paths(build_info, "train")
    if not values.get("image_path"):
        values["image_path"] = _storage(build_info.get("images"))
    for key in ("prompts", "process", "classes", "more_images"):
        values[key] = as_strings(values.get(key))
    if build_info.get("prompts"):  # a kind's own wording would not be among them
        values["eval_prompt"] = build_info.get("eval_prompt")
    if values["more_images"] and values.get("image", "") is None:
        mistakes.append("more_images needs a first picture (image)")
    if not values["ann_path"]:
        key = "val_ann_path, or val_share" if split == "val" else _short_key(split)
        mistakes.append(f"no annotation file is given for split {split!r} ({key})")
    if not values["prompts"]:
        mistakes.append("no prompts are given")
    mistakes += where_mistakes(values.get("where"))
    skips = ("error", "skip")
    for key, allowed in (
        ("on_broken", skips), ("on_bad_row", skips), ("box_form", BOX_FORMS),
        ("per", ("picture", "category")), ("task", _TASKS),
    ):  # fmt: skip
        if (values.get(key) or allowed[0]) not in allowed:
            mistakes.append(f"{key} is {values[key]!r}, but must be one of {', '.join(allowed)}")
    share = values.get("val_share", 0.0)
    if not 0 <= share < 1:
        mistakes.append(f"val_share is {share!r}, but must be a share from 0 to below 1")
    if values.get("turns") is not None and values["turns"] < 1:
        mistakes.append(f"turns is {values['turns']!r}, but must be 1 or more")
    texts = [values.get("image"), values.get("eval_prompt"), values.get("answer")]
    for text in [*texts, *values["prompts"], *values["more_images"]]:
        try:
            compiled(text or "")
        except ValueError as error:
            mistakes.append(f"the pattern {text!r} cannot be read ({error})")
    if mistakes:
        raise ConfigError(f"datasets.{name}.build_info: {'; '.join(mistakes)}.")
    return RecordSpec(**values)


def annotation_paths(build_info: Mapping[str, Any], split: str) -> tuple[str, ...]:
    """Annotation files of a split, from the short form or the older nested one.

    ``ann_path`` and ``val_ann_path`` are the short form of the splits train and val;
    ``annotations.<split>.storage`` is the nested one. With ``val_share``, val is a part of train.
    """
    key = _short_key(split)
    if build_info.get(key):
        return as_strings(build_info[key])
    entry = annotation_entry(build_info, split)
    found = as_strings(entry.get("storage") or entry.get("path"))
    if not found and split == "val" and build_info.get("val_share"):
        return annotation_paths(build_info, "train")
    return found


def _short_key(split: str) -> str:
    return "ann_path" if split == "train" else f"{split}_ann_path"


def annotation_entry(build_info: Mapping[str, Any], split: str) -> Mapping[str, Any]:
    """What the older form says of a split: ``storage`` (or ``path``), ``url``, ``md5``.

    Raises:
        ConfigError: ``annotations`` holds no splits.
    """
    nested = build_info.get("annotations") or {}
    if not isinstance(nested, Mapping):
        raise ConfigError(
            f"build_info.annotations is {nested!r}, but must name splits (train: storage: FILE); "
            "give a file as build_info.ann_path."
        )
    entry = nested.get(split) or {}
    return entry if isinstance(entry, Mapping) else {"storage": entry}


def _storage(entry: Any) -> str | None:
    found = entry.get("storage") if isinstance(entry, Mapping) else entry
    return str(found) if found else None


def _composed(value: Any) -> Any:
    """The same with all text in Unicode form NFC, as tables name their columns."""
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    if isinstance(value, Mapping):
        return {_composed(key): _composed(each) for key, each in value.items()}
    return [_composed(each) for each in value] if isinstance(value, list | tuple) else value


def as_strings(value: Any) -> tuple[str, ...]:
    """One text, several or none, as a file may give them."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(str(item) for item in value)

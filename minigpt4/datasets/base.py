"""What all record data sets share: annotations checked at once, pictures read one by one."""

from __future__ import annotations

import logging
import random
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from minigpt4.common.errors import DataError
from minigpt4.common.memory import give_back_freed_memory
from minigpt4.conversation.prompts import image_instruction
from minigpt4.datasets.filters import table_where
from minigpt4.datasets.nested import add_nested
from minigpt4.datasets.opening import (
    require_columns,
    row_mistakes,
    share_of_rows,
    usable_rows,
)
from minigpt4.datasets.patterns import fill
from minigpt4.datasets.pictures import BLANK, BrokenPictureError, load_picture
from minigpt4.datasets.readers import lack, read_table
from minigpt4.datasets.row_pictures import RowPictures
from minigpt4.datasets.schema import Sample, Turn
from minigpt4.datasets.spec import make_spec
from minigpt4.datasets.table import Table
from minigpt4.datasets.usual import with_usual_picture

if TYPE_CHECKING:
    from minigpt4.datasets.features import FeatureCache

logger = logging.getLogger(__name__)

ImageProcessor = Callable[[Image.Image], Tensor]
TextProcessor = Callable[[str], str]

_MAX_SKIPS = 100
_MANY = 50_000
"""Rows whose opening leaves more freed memory than the process can use again."""


class Draw(NamedTuple):
    """One sample to be drawn: its place, and which pass over the data set this is."""

    row: int
    salt: int = 0


class RecordDataset(Dataset[Sample]):
    """A data set of one row an example; subclasses say how a row becomes turns.

    All annotations and the existence of all pictures are checked when it opens. What is drawn at
    random (wording, one of several answers) is a function of (seed, index, salt) alone, so any
    number of worker processes gives the same samples.

    Args:
        build_info: See ``RecordSpec``.
        vis_processor: Picture to pixel values (3, S, S).
        text_processor: Cleans the columns named in ``process``.
        name: For messages.
        split: Which of the annotation files to read.
        training: False for fixed wording, no randomness and no skipping.
        blank: Replace every picture by a plain grey one.
        limit: Only the first so many samples.
        seed: Seed of what is drawn.

    Raises:
        DataError: Lists the first mistakes in the annotations, or the first missing pictures.
    """

    defaults: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self,
        build_info: Mapping[str, Any],
        *,
        vis_processor: ImageProcessor,
        text_processor: TextProcessor | None = None,
        name: str = "",
        split: str = "train",
        training: bool = True,
        blank: bool = False,
        limit: int | None = None,
        seed: int = 42,
    ) -> None:
        self.name = name or type(self).__name__
        self.training = training
        self.seed = seed
        self.spec = make_spec(build_info, self._defaults(build_info), name=self.name, split=split)
        self.vis_processor = vis_processor
        self._text_processor = text_processor
        self._features: FeatureCache | None = None
        self._table = self._read(self.spec.ann_path, split)
        self._pictures = RowPictures(self.spec, self._table, blank=blank)
        self._rows = self._open(split, limit)
        if len(self._table) >= _MANY:
            give_back_freed_memory()

    @classmethod
    def _defaults(cls, build_info: Mapping[str, Any]) -> Mapping[str, Any]:
        return cls.defaults

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int | Draw) -> Sample:
        draw = index if isinstance(index, Draw) else Draw(index)
        if not -len(self) <= draw.row < len(self):
            raise IndexError(draw.row)
        if self.spec.on_broken == "error" or not self.training:
            return self._sample(draw)
        broken = []
        for step in range(min(_MAX_SKIPS, len(self))):
            try:
                sample = self._sample(draw._replace(row=(draw.row + step) % len(self)))
            except BrokenPictureError as error:
                broken.append(str(error))
                continue
            if broken:
                sample.meta["skipped"] = broken
            return sample
        raise DataError(f"{self.name}: {len(broken)} pictures in a row are broken; {broken[0]}")

    def image_paths(self) -> list[str]:
        """Every picture once, in the order of first use."""
        return self._pictures.every(self._rows)

    def described(self, ann_path: str | None = None) -> Iterator[Sample]:
        """The samples in order, without their pictures.

        Args:
            ann_path: Another annotation file (of training), read as this data set's own are; its
                pictures need not be there. None for this data set.
        """
        table = self._table if ann_path is None else self._read((ann_path,), "train")
        for number, row in table.numbered(self._rows if ann_path is None else None):
            yield self._describe(row, number, rng=None)

    def described_rows(
        self, numbers: Sequence[int] | None = None
    ) -> Iterator[tuple[int, dict[str, Any], Sample | Exception]]:
        """Each row's number in ``table`` (or some), its values, its sample or why there is none."""
        for number, row in self._table.numbered(self._rows if numbers is None else numbers):
            try:
                yield number, row, self._describe(row, number, rng=None)
            except (DataError, KeyError, IndexError, TypeError, ValueError) as error:
                yield number, row, error

    @property
    def table(self) -> Table:
        """All rows of the annotations, also those that are left out."""
        return self._table

    def picture_path(self, picture: str | Mapping[str, Any]) -> str:
        """Full path of a picture, by its ``Sample.picture`` or by its row."""
        return self._pictures.path(picture)

    def use_features(self, cache: FeatureCache | None) -> None:
        """Give ``Sample.features`` from a cache instead of reading pictures; None undoes it."""
        self._features = cache

    # What subclasses say.

    def _turns(self, row: Mapping[str, Any], rng: random.Random | None) -> list[Turn]:
        """Instructions and answers of a row; ``rng`` is None outside of training."""
        raise NotImplementedError

    def _meta(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """What scoring needs besides the answer."""
        return dict(row)

    def _id(self, row: Mapping[str, Any], number: int) -> str:
        """Unique within the data set and the same in every run."""
        return f"{number}"

    def _row_mistake(self, row: Mapping[str, Any]) -> str | None:
        """What is wrong with a row, if anything."""
        return None

    def _checked_columns(self) -> Sequence[str]:
        """Columns that ``_row_mistake`` looks at."""
        return ()

    def _filled_columns(self) -> Sequence[str]:
        """Columns that no row may leave empty."""
        return ()

    def _columns(self) -> Sequence[str]:
        """Columns that must exist besides those of the patterns."""
        return ()

    def _computed(self) -> Sequence[str]:
        """Names that patterns may use although no column is called so."""
        return ()

    def _prepared(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row with what its patterns need besides the file's columns."""
        return row

    # Shared by subclasses.

    def _clean(self, row: dict[str, Any]) -> dict[str, Any]:
        if self._text_processor is not None:
            for column in self.spec.process:
                value = row.get(column)
                if isinstance(value, str):
                    row[column] = self._text_processor(value)
                elif isinstance(value, list) and all(isinstance(item, str) for item in value):
                    row[column] = [self._text_processor(item) for item in value]
        return row

    def _prompt(self, row: Mapping[str, Any], rng: random.Random | None) -> str:
        pattern = rng.choice(self.spec.prompts) if rng else self.spec.evaluation_prompt
        # Whoever asks later types composed letters, which have other tokens than decomposed ones.
        return unicodedata.normalize("NFC", fill(pattern, row))

    def _instruction(self, row: Mapping[str, Any], rng: random.Random | None) -> str:
        """The prompt behind the slots of the sample's pictures; by itself where there are none."""
        prompt = self._prompt(row, rng)
        count = self._pictures.count
        return image_instruction(prompt, pictures=count) if count else prompt

    def _sample(self, draw: Draw) -> Sample:
        number = int(self._rows[draw.row])
        row = self._table.row(number)
        rng = random.Random(f"{self.seed}/{draw.row}/{draw.salt}") if self.training else None
        try:
            sample = self._describe(row, number, rng=rng)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise DataError(
                f"{self.name}, {self._table.place(number)}: the patterns of build_info cannot be "
                f"filled in from this row ({lack(error)})."
            ) from error
        paths = self._pictures.paths(row)
        if not paths:
            return sample
        sample.image_path = paths[0] if paths[0] != BLANK else None
        try:
            if self._features is not None:
                sample.features = _joined([self._features[path] for path in paths])
            else:
                sample.image = _joined([self.vis_processor(load_picture(path)) for path in paths])
        except DataError as error:
            raise BrokenPictureError(
                f"{self.name}, {self._table.place(number)}: {error}"
                + (
                    f" To train without it set datasets.{self.name}.build_info.on_broken=skip."
                    if self.training and self.spec.on_broken == "error"
                    else ""
                )
            ) from error
        return sample

    def _describe(
        self, row: Mapping[str, Any], number: int, *, rng: random.Random | None
    ) -> Sample:
        """A row's sample without its picture."""
        row = self._prepared(dict(row))
        return Sample(
            id=self._id(row, number),
            turns=self._turns(self._clean(dict(row)), rng),
            picture=self._pictures.name(row),
            meta=self._meta(row),
        )

    def _read(self, paths: Sequence[str], split: str) -> Table:
        table = read_table(
            paths,
            reader=self.spec.reader,
            records=self.spec.records,
            split=split,
            image_path=self.spec.image_path,
            options=self.spec.reader_options,
        )
        fields, where = self.spec.fields or {}, self.spec.where or ()
        add_nested(table, [*fields.values(), *where])
        require_columns(table, {f"fields.{f}": c for f, c in fields.items()}, name=self.name)
        for field, column in fields.items():
            table.alias(field, column)
        self.spec = with_usual_picture(self.spec, table)
        require_columns(table, {f"where.{column}": column for column in where}, name=self.name)
        if self.spec.where:
            table = table_where(table, self.spec.where, name=self.name)
        return table

    # Checks on opening.

    def _open(self, split: str, limit: int | None) -> np.ndarray:
        """Check all rows and pictures; the numbers of the rows that this data set consists of."""
        wanted = [c for c in (*self.spec.columns, *self._columns()) if c not in self._computed()]
        require_columns(self._table, {f"fields.{c}": c for c in wanted}, name=self.name)
        mistakes = row_mistakes(
            self._table,
            filled=self._filled_columns(),
            checked=self._checked_columns(),
            mistake=self._row_mistake,
        )
        names = self._pictures.names()
        mistakes = {**self._pictures.unnamed(names), **mistakes}
        rows = usable_rows(
            self._table, mistakes, name=self.name, spec=self.spec, training=self.training
        )
        if self.spec.val_share and split in ("train", "val"):
            below = self.spec.val_share
            held_out = names[0].share(rows, below) if names else share_of_rows(rows, below)
            rows = rows[held_out if split == "val" else ~held_out]
        rows = self._pictures.look_for(rows[:limit], names, name=self.name, training=self.training)
        if not len(rows):
            raise DataError(
                f"{self.name}: no sample of {', '.join(self.spec.ann_path)} is left for split "
                f"{split!r}."
            )
        return rows


def _joined(pictures: list[Tensor]) -> Tensor:
    """One picture (...) as it is, several stacked (T, ...)."""
    return pictures[0] if len(pictures) == 1 else torch.stack(pictures)

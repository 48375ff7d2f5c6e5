"""What all record data sets share: annotations checked at once, pictures read one by one."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from minigpt4.common.errors import DataError
from minigpt4.datasets.pictures import BLANK, default_roots, load_picture, locate
from minigpt4.datasets.readers import read_table
from minigpt4.datasets.schema import Sample, Turn
from minigpt4.datasets.spec import fill, make_spec, pattern_columns

if TYPE_CHECKING:
    from minigpt4.datasets.features import FeatureCache

logger = logging.getLogger(__name__)

ImageProcessor = Callable[[Image.Image], Tensor]
TextProcessor = Callable[[str], str]

_SHOWN = 5
_MAX_SKIPS = 100


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
        self._blank = blank
        self._features: FeatureCache | None = None
        self._table = read_table(
            self.spec.ann_path, reader=self.spec.reader, records=self.spec.records
        )
        for field, column in (self.spec.fields or {}).items():
            if column not in self._table.names:
                raise DataError(self._no_column(column, f"fields.{field}"))
            self._table.alias(field, column)
        count = len(self._table) if limit is None else min(limit, len(self._table))
        self._rows = np.arange(count)
        self._check_columns()
        self._check_rows()
        if self.spec.image is not None:
            self._find_pictures()

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
                logger.warning("%s; the next sample is used (on_broken: skip)", error)
                continue
            if broken:
                sample.meta["skipped"] = broken
            return sample
        raise DataError(f"{self.name}: {len(broken)} pictures in a row are broken; {broken[0]}")

    def image_paths(self) -> list[str]:
        """Every picture once, in the order of first use."""
        if self.spec.image is None:
            return []
        if self._blank:
            return [BLANK]
        return list(dict.fromkeys(self._path(self._table.row(row)) for row in self._rows.tolist()))

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

    def _columns(self) -> list[str]:
        """Columns that must exist besides those of the patterns."""
        return []

    # Shared by subclasses.

    def _clean(self, row: dict[str, Any]) -> dict[str, Any]:
        if self._text_processor is not None:
            for column in self.spec.process:
                if isinstance(row.get(column), str):
                    row[column] = self._text_processor(row[column])
        return row

    def _prompt(self, row: Mapping[str, Any], rng: random.Random | None) -> str:
        pattern = rng.choice(self.spec.prompts) if rng else self.spec.evaluation_prompt
        return fill(pattern, row)

    # Reading.

    def _sample(self, draw: Draw) -> Sample:
        number = int(self._rows[draw.row])
        row = self._table.row(number)
        rng = random.Random(f"{self.seed}/{draw.row}/{draw.salt}") if self.training else None
        sample = Sample(
            id=self._id(row, number),
            turns=self._turns(self._clean(dict(row)), rng),
            meta=self._meta(row),
        )
        if self.spec.image is None:
            return sample
        path = BLANK if self._blank else self._path(row)
        sample.image_path = path
        try:
            if self._features is not None:
                sample.features = self._features[path]
            else:
                sample.image = self.vis_processor(load_picture(path))
        except DataError as error:
            raise BrokenPictureError(
                f"{self.name}, {self._table.place(number)}: {error} Mend or remove it, or set "
                f"datasets.{self.name}.build_info.on_broken=skip."
            ) from error
        return sample

    def _picture_name(self, row: Mapping[str, Any]) -> str:
        assert self.spec.image is not None
        name = fill(self.spec.image, row)
        return PurePosixPath(name).name if self.spec.image_name_only else name

    def _path(self, row: Mapping[str, Any]) -> str:
        return self._folder.path(self._picture_name(row))

    # Checks on opening.

    def _check_columns(self) -> None:
        patterns = [*self.spec.prompts, self.spec.evaluation_prompt, self.spec.image or ""]
        patterns += [self.spec.answer]
        for column, by_value in (self.spec.answers or {}).items():
            patterns += [f"{{{column}}}", *by_value.values()]
        wanted = [c for pattern in patterns for c in pattern_columns(pattern)] + self._columns()
        for column in dict.fromkeys(wanted):
            if column not in self._table.names and column not in self._computed():
                raise DataError(self._no_column(column, f"fields.{column}"))

    def _computed(self) -> Sequence[str]:
        """Names that patterns may use although no column is called so."""
        return ()

    def _no_column(self, column: str, key: str) -> str:
        return (
            f"{', '.join(self.spec.ann_path)} has no column {column!r} (it has "
            f"{', '.join(self._table.names)}); name the right one in datasets.{self.name}."
            f"build_info.{key}."
        )

    def _check_rows(self) -> None:
        self._raise_first(self._mistakes(), "annotations cannot be used")

    def _mistakes(self) -> Iterator[str]:
        for number in self._rows.tolist():
            row = self._table.row(number)
            mistake = self._row_mistake(row)
            if mistake is None and self.spec.image is not None:
                try:
                    self._picture_name(row)
                except (KeyError, IndexError, TypeError, ValueError):
                    columns = pattern_columns(self.spec.image)
                    values = ", ".join(f"{c}={row.get(c)!r}" for c in columns)
                    mistake = f"no picture name can be made of {values}"
            if mistake is not None:
                yield f"{self._table.place(number)}: {mistake}"

    def _raise_first(self, mistakes: Iterator[str], what: str) -> None:
        found = list(mistakes)
        if found:
            shown = "; ".join(found[:_SHOWN])
            more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            raise DataError(f"{self.name}: {len(found)} {what}: {shown}{more}.")

    def _find_pictures(self) -> None:
        roots = default_roots(self.spec.image_path, self.spec.ann_path[0])
        names = [self._picture_name(self._table.row(row)) for row in self._rows.tolist()]
        self._folder, missing = locate(list(dict.fromkeys(names)), roots)
        if self._blank or not missing:
            return
        total = len(set(names))
        if self.spec.on_broken == "skip" and self.training and len(missing) < total:
            gone = set(missing)
            self._rows = self._rows[[name not in gone for name in names]]
            logger.warning(
                "%s: %d of %d pictures are missing from %s; %d of %d samples are left out "
                "(on_broken: skip)",
                self.name, len(missing), total, self._folder.root,
                len(names) - len(self._rows), len(names),
            )  # fmt: skip
            return
        shown = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
        raise DataError(
            f"{self.name}: {len(missing)} of {total} pictures are missing from "
            f"{' and '.join(roots)}: {shown}; put them there, set the folder "
            f"(build_info.image_path, img_path), or leave them out of training with "
            f"datasets.{self.name}.build_info.on_broken=skip."
        )


class BrokenPictureError(DataError):
    """A picture that was there on opening cannot be read."""

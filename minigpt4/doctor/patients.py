"""The data sets of a configuration, opened although something is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from minigpt4.datasets.base import RecordDataset
from minigpt4.datasets.caption import CaptionDataset
from minigpt4.datasets.conversation import ConversationDataset
from minigpt4.datasets.grounding import GroundingDataset
from minigpt4.datasets.objects import ObjectDataset
from minigpt4.datasets.opening import Faults
from minigpt4.datasets.schema import Sample
from minigpt4.datasets.streams.dataset import StreamDataset
from minigpt4.datasets.streams.shards import Pair
from minigpt4.doctor.findings import Place, Severity

Role = Literal["train", "test"]


@dataclass(kw_only=True)
class Patient:
    """One split of one data set.

    Attributes:
        key: Where the configuration names it: ``datasets.vivqa``.
        split: ``train``, ``val``, ``test``; of an evaluation the name of its split.
        role: Whether it is trained or tested on.
        dataset: The data set.
        faults: What would have kept it from opening.
        text_processor: What its texts pass through.
        max_new_tokens: Longest answer of an evaluation.
        companion: Whether the configuration does not name it: it lies beside one that it names.
        sampled: Samples of a stream that are looked at.
        blank: Whether its pictures are replaced, so that they need not be there.
    """

    key: str
    split: str
    role: Role
    dataset: RecordDataset | StreamDataset
    faults: Faults = field(default_factory=Faults)
    text_processor: Any = None
    max_new_tokens: int | None = None
    companion: bool = False
    sampled: int = 0
    blank: bool = False

    def __post_init__(self) -> None:
        self._pairs: list[Pair] = []
        self._samples: dict[int, Sample] = {}

    @property
    def label(self) -> str:
        """The data set as messages name it."""
        beside = ", beside it" if self.companion else ""
        return f"{self.key} ({self.split}{beside})"

    @property
    def records(self) -> RecordDataset | None:
        """The data set where it has rows; None for a stream."""
        return self.dataset if isinstance(self.dataset, RecordDataset) else None

    @property
    def files(self) -> list[str]:
        """Its annotation files or shards."""
        if isinstance(self.dataset, RecordDataset):
            return list(self.dataset.spec.ann_path)
        return list(self.dataset.shards)

    @property
    def kind(self) -> type[RecordDataset | StreamDataset]:
        """Data sets of one kind word their questions alike."""
        return type(self.dataset)

    def goes_with(self, other: Patient) -> bool:
        """Whether a run has both: what lies beside an entry goes with that entry alone."""
        return self.key == other.key or not (self.companion or other.companion)

    def is_counterpart(self, other: Patient) -> bool:
        """Whether the two can be compared sample by sample."""
        return self.goes_with(other) and self.kind is other.kind

    @property
    def has_one_answer(self) -> bool:
        """Whether a question about a picture has one right answer; captions have many."""
        if self.records is None:
            return False
        several = isinstance(self.records, CaptionDataset | ConversationDataset)
        return not several and self.records.spec.task != "identify"

    @property
    def box_form(self) -> str | None:
        """How its rows write their boxes; None where they have none, or ready-made ones."""
        if not isinstance(self.dataset, GroundingDataset) or self.dataset.box_form == "ready":
            return None
        return self.dataset.box_form

    @property
    def names_objects(self) -> bool:
        """Whether a sample has any number of objects, so that whole answers hardly repeat."""
        return isinstance(self.dataset, ObjectDataset)

    def walk(self) -> Iterator[tuple[int, Mapping[str, Any], Sample | Exception]]:
        """Each sample's number, its row, and the sample without picture or why there is none."""
        if isinstance(self.dataset, RecordDataset):
            yield from self.dataset.described_rows()
            return
        for number in range(self.sampled):
            pair = self.dataset.pair(number)
            self._pairs.append(pair)
            try:
                (sample,) = self.dataset.samples([pair])
            except (ValueError, KeyError, TypeError) as error:
                yield number, pair.row, error
                continue
            sample.image = None
            self._samples[number] = sample
            yield number, pair.row, sample

    def samples_at(self, numbers: Sequence[int]) -> dict[int, Sample]:
        """Some samples by their numbers, without pictures; only what ``walk`` gave."""
        if not isinstance(self.dataset, RecordDataset):
            return {number: self._samples[number] for number in numbers}
        walk = self.dataset.described_rows(numbers)
        return {number: sample for number, _, sample in walk if isinstance(sample, Sample)}

    def place(self, number: int, what: str = "") -> Place:
        """Where a sample is written down."""
        if isinstance(self.dataset, RecordDataset):
            file, row = self.dataset.table.source(number)
            return Place(file, row, what)
        return Place(self._pairs[number].id, None, what)

    def skipped_members(self) -> list[str]:
        """What was unusable among the members of a stream, one sentence each."""
        return [sentence for pair in self._pairs for sentence in pair.skipped]

    def severity(self, severity: Severity, *, may_skip: str = "") -> Severity:
        """How bad a mistake is here.

        Args:
            severity: How bad it would be in a data set that has to be whole.
            may_skip: ``on_broken`` or ``on_bad_row``: the setting that leaves such samples out of
                training.
        """
        if self.companion:
            return "note"
        skips = may_skip and getattr(self.dataset.spec, may_skip) == "skip"
        if severity == "error" and skips and self.role == "train":
            return "warning"
        return severity

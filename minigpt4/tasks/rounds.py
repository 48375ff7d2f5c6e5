"""All answers of a run: what is in its file already is kept, the rest is asked for.

The data are cut into batches in one way, whatever was answered before and however many processes
share the batches out: questions about one picture together, prompts of like length together. A
batch that is not whole in the file is asked for again as a whole. So a run that was stopped and
started again ends with the answers of one that was not.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minigpt4.scoring.kinds import Kind
from minigpt4.scoring.prediction import Prediction
from minigpt4.tasks.answer_plan import AnswerPlan
from minigpt4.tasks.predict import predict
from minigpt4.tasks.prediction_file import Appender, PredictionFile, Saved
from minigpt4.tasks.processes import Processes

if TYPE_CHECKING:
    from minigpt4.datasets.base import RecordDataset
    from minigpt4.datasets.schema import Sample

_AHEAD = 8
"""Batches that are asked together where prompts take the places of answered ones."""
RESAMPLE_ROUNDS = 20
"""How often ``resample`` asks again for answers that cannot be read."""
RESAMPLING: dict[str, Any] = {"do_sample": True, "temperature": 1.0, "top_p": 0.9}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """What asking takes, but for the model.

    Attributes:
        name: Of the entry, for the progress bar.
        dataset: What is asked about.
        ids: Its samples' ids, in order.
        sequence: Their numbers in the order in which they are asked; see ``asking_order``.
        kind: Its kind of evaluation.
        plan: How answers are found.
        batch_size: Samples in the model at once.
        num_workers: Processes that read pictures.
        extras: By sample id, what to add to its meta.
        resample_seed: Seed of asking again, sampling, where an answer cannot be read; None: do not.
    """

    name: str
    dataset: RecordDataset
    ids: Sequence[str]
    sequence: Sequence[int]
    kind: Kind
    plan: AnswerPlan
    batch_size: int
    num_workers: int = 0
    extras: Mapping[str, Mapping[str, Any]] | None = None
    resample_seed: int | None = None

    @property
    def unit(self) -> int:
        """Samples that are asked, and saved, together."""
        return self.batch_size * (_AHEAD if self.plan.refills else 1)

    @property
    def order(self) -> dict[str, int]:
        """Sample ids to their place in the data."""
        return {name: place for place, name in enumerate(self.ids)}

    def unread(self, saved: Saved, rounds: int) -> list[int]:
        """Samples whose last answer after so many rounds cannot be read, as they are asked."""
        last = latest(saved, rounds)
        return [i for i in self.sequence if not self.kind.can_read(last[self.ids[i]])]

    def missing(self, saved: Saved, number: int) -> list[tuple[int, list[int]]]:
        """Batches of a round (0 is the first asking) that are not whole, with their numbers."""
        wanted = self.unread(saved, number - 1) if number else list(self.sequence)
        batches = [wanted[start : start + self.unit] for start in range(0, len(wanted), self.unit)]
        return [
            (place, batch)
            for place, batch in enumerate(batches)
            if any((self.ids[i], number) not in saved.answers for i in batch)
        ]

    def next_round(self, saved: Saved, number: int) -> int | None:
        """The first round from ``number`` on with something to ask for; None: all is done.

        A round that asks for nothing is the last: nothing was left for it.
        """
        last = RESAMPLE_ROUNDS if self.resample_seed is not None else 0
        for each in range(number, last + 1):
            if self.missing(saved, each):
                return each
            if each and not self.unread(saved, each - 1):
                return None
        return None


def asking_order(samples: Iterable[Sample]) -> list[int]:
    """Numbers of samples so that batches cut from them are quick to answer.

    Those about one picture stand together, as their prompts share it, and pictures follow each
    other by the length of their longest instruction. It depends on the data alone.
    """
    pictures: dict[str, list[tuple[int, int]]] = {}
    for number, each in enumerate(samples):
        asked = pictures.setdefault(each.picture or f"{number}", [])
        asked.append((len(each.turns[0].instruction), number))
    groups = sorted(
        (max(length for length, _ in asked), asked[0][1], asked) for asked in pictures.values()
    )
    return [number for _, _, asked in groups for _, number in sorted(asked)]


def latest(saved: Saved, rounds: int | None = None) -> dict[str, Prediction]:
    """Each sample's last answer, of all or after so many rounds of asking again."""
    last: dict[str, Prediction] = {}
    for (name, tries), each in sorted(saved.answers.items(), key=lambda item: item[0][1]):
        if rounds is None or tries <= rounds:
            last[name] = each
    return last


def ask(
    asker: Asker, saved: Saved, file: PredictionFile, *, model: Any, processes: Processes
) -> None:
    """Ask for everything that ``saved`` lacks, into the file and into ``saved``.

    Args:
        asker: What is asked and how.
        saved: What is there; the same in every process.
        file: Where answers go; of several processes each writes a part.
        model: Who is asked.
        processes: Among whom batches are dealt.
    """
    path = file.part(processes.rank) if processes.size > 1 else file.path
    number = asker.next_round(saved, 0)
    while number is not None:
        batches = asker.missing(saved, number)[processes.rank :: processes.size]
        with Appender(path, saved.run) as log:
            made = _one_round(asker, saved, model, number, batches, log)
        for share in processes.gather(made):
            saved.add(share)
        number = asker.next_round(saved, number + 1)


def _one_round(
    asker: Asker,
    saved: Saved,
    model: Any,
    number: int,
    batches: Sequence[tuple[int, list[int]]],
    log: Appender,
) -> list[Prediction]:
    plan, seeds = asker.plan, None
    if number:
        assert asker.resample_seed is not None
        plan = dataclasses.replace(plan, search=dataclasses.replace(plan.search, **RESAMPLING))
        # Each batch draws by itself, so that it does not matter which were drawn before.
        seeds = [
            random.Random(f"{asker.resample_seed}/{number}/{place}").getrandbits(31)
            for place, _ in batches
        ]
    return predict(
        model,
        asker.dataset,
        batch_size=asker.unit,
        at_once=asker.batch_size,
        plan=plan,
        spans=asker.kind.spans,
        indices=[i for _, batch in batches for i in batch],
        extras=asker.extras,
        save=log.append,
        seeds=seeds,
        num_workers=asker.num_workers,
        tries=number,
        desc=f"{asker.name}, resampling {number}" if number else asker.name,
        done=0 if number else sum(not tries for _, tries in saved.answers),
    )

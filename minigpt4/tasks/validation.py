"""Answers to a data set while a model trains: figures only, no files and no intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from minigpt4.models.generation import GenerationOptions
from minigpt4.scoring.kinds import ScoreOptions, get_kind
from minigpt4.scoring.prediction import Prediction
from minigpt4.tasks.answer_plan import AnswerPlan
from minigpt4.tasks.predict import predict
from minigpt4.tasks.rounds import asking_order

if TYPE_CHECKING:
    from minigpt4.datasets.base import RecordDataset


def evaluate_dataset(
    model: Any,
    dataset: RecordDataset,
    kind: str,
    batch_size: int,
    max_new_tokens: int,
    *,
    indices: Sequence[int] | None = None,
    gather: Callable[[list[Prediction]], list[Prediction]] | None = None,
) -> dict[str, float]:
    """The figures of a data set without files or intervals, for validation while training.

    Args:
        model: The model as it stands; its training mode is restored.
        dataset: Opened for evaluation (``training=False``).
        kind: ``vqa`` or ``detection``; its ``primary`` figure tells most.
        batch_size: Samples a generation step.
        max_new_tokens: Longest answer in tokens.
        indices: Only these samples.
        gather: Joins this process's predictions with those of others on their share.
    """
    wanted = set(range(len(dataset)) if indices is None else indices)
    predictions = predict(
        model,
        dataset,
        batch_size=batch_size,
        plan=AnswerPlan(search=GenerationOptions(max_new_tokens=max_new_tokens)),
        spans=get_kind(kind).spans,
        indices=[number for number in asking_order(dataset.described()) if number in wanted],
        style="training",  # also where training began from a checkpoint of the original
    )
    if gather is not None:
        predictions = gather(predictions)
    metrics = get_kind(kind).score(predictions, ScoreOptions(resamples=0))
    return {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }

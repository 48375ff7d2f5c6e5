"""A data set through the model: one answer a sample, with probabilities, saved as it is made."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from minigpt4.common.files import make_folder
from minigpt4.common.logger import progress
from minigpt4.conversation.prompts import PromptStyle, inference_prompt
from minigpt4.scoring.prediction import Prediction, Spans

if TYPE_CHECKING:
    from minigpt4.models.generation import GenerationOptions


class PredictionLog:
    """A JSON-lines file: first what the run is, then a line a prediction, each flushed at once.

    A sample that is answered again gets another line; the last one counts.
    """

    def __init__(self, path: Path, run: Mapping[str, Any]) -> None:
        self.path = path
        make_folder(path.parent)
        self._file: TextIO = path.open("w", encoding="utf-8")
        self._write([{"run": dict(run)}])

    def append(self, predictions: Sequence[Prediction]) -> None:
        """Write one batch."""
        self._write([asdict(each) for each in predictions])

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        self._file.flush()

    def __enter__(self) -> PredictionLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


def predict(
    model: Any,
    dataset: Any,
    *,
    batch_size: int,
    options: GenerationOptions,
    spans: Spans | None = None,
    indices: Sequence[int] | None = None,
    log: PredictionLog | None = None,
    num_workers: int = 0,
    style: PromptStyle | None = None,
    tries: int = 0,
    desc: str = "answers",
) -> list[Prediction]:
    """Answer every sample once.

    Args:
        model: A MiniGPT model; it is in evaluation mode meanwhile.
        dataset: A record data set opened for evaluation.
        batch_size: Samples a step.
        options: How answers are searched.
        spans: Parts of an answer whose probability is wanted.
        indices: Only these samples.
        log: Where predictions are saved as they are made.
        num_workers: Processes that read pictures.
        style: Form of the prompts; None for the model's own.
        tries: Noted in the predictions.
        desc: Name of the progress bar.
    Returns:
        The predictions in the order of the data set (or of ``indices``).
    """
    import torch

    from minigpt4.datasets.loaders import eval_loader

    count = len(dataset) if indices is None else len(indices)
    loader = eval_loader(dataset, batch_size=batch_size, num_workers=num_workers, indices=indices)
    predictions: list[Prediction] = []
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), progress(total=count, desc=desc, unit="sample") as bar:
            for batch in loader:
                made = _predict_batch(model, batch, options, spans, style or model.prompt_style)
                for each in made:
                    each.tries = tries
                if log is not None:
                    log.append(made)
                predictions += made
                bar.update(len(made))
    finally:
        model.train(was_training)
    return predictions


def _predict_batch(
    model: Any,
    batch: Mapping[str, Any],
    options: GenerationOptions,
    spans: Spans | None,
    style: PromptStyle,
) -> list[Prediction]:
    from minigpt4.models.generation import span_probability

    pictures = {
        argument: batch[key]
        for argument, key in (("images", "image"), ("image_features", "image_features"))
        if key in batch
    }
    generations = model.generate_scored(
        texts=[prompt_of(model, each, style) for each in batch["instruction_input"]],
        **pictures,
        **asdict(options),
    )
    return [
        Prediction(
            id=batch["sample_id"][i],
            answer=made.text,
            finished=made.finished,
            probability=math.exp(made.logprob),
            probabilities={
                name: span_probability(made, start, end)
                for name, (start, end) in (spans(made.text) if spans else {}).items()
            },
            question=batch["instruction_input"][i],
            reference=batch["answer"][i],
            image_path=batch["image_path"][i],
            picture=batch["picture"][i],
            meta=batch["meta"][i],
        )
        for i, made in enumerate(generations)
    ]


def prompt_of(model: Any, instruction: str, style: PromptStyle | None = None) -> str:
    """The prompt with which this model is asked, by the code that builds its training prompts."""
    return inference_prompt(
        instruction,
        template=model.settings.prompt_template,
        chat_template=model.settings.chat_template,
        style=style or model.prompt_style,
    )

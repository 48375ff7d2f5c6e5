"""A data set through the model: one answer a sample, with probabilities, batch by batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from minigpt4.common.logger import progress
from minigpt4.conversation.prompts import PromptStyle, inference_prompt
from minigpt4.scoring.prediction import Prediction, Spans
from minigpt4.tasks.answer_plan import RANK, AnswerPlan

if TYPE_CHECKING:
    from minigpt4.models.generation import Generation


def predict(
    model: Any,
    dataset: Any,
    *,
    batch_size: int,
    plan: AnswerPlan,
    spans: Spans | None = None,
    indices: Sequence[int] | None = None,
    extras: Mapping[str, Mapping[str, Any]] | None = None,
    save: Callable[[list[Prediction]], None] | None = None,
    seeds: Sequence[int] | None = None,
    num_workers: int = 0,
    style: PromptStyle | None = None,
    at_once: int | None = None,
    tries: int = 0,
    desc: str = "answers",
    done: int = 0,
) -> list[Prediction]:
    """Answer every sample once.

    Args:
        model: A MiniGPT model; it is in evaluation mode meanwhile.
        dataset: A record data set opened for evaluation.
        batch_size: Samples that are read and saved together.
        plan: How answers are found.
        spans: Parts of an answer whose probability is wanted.
        indices: Only these samples.
        extras: By sample id, what to add to its meta.
        save: Called with each batch as it is made.
        seeds: What to seed the drawing of each batch with.
        num_workers: Processes that read pictures.
        style: Form of the prompts; None for the model's own.
        at_once: Samples of a batch in the model at once; None for all.
        tries: Noted in the predictions.
        desc: Name of the progress bar.
        done: Samples answered before, for the progress bar.
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
    bar = progress(total=done + count, initial=done, desc=desc, unit="sample")
    try:
        with torch.inference_mode(), model.lora.merged(), bar:
            for number, batch in enumerate(loader):
                if seeds is not None:
                    torch.manual_seed(seeds[number])
                made = _predict_batch(
                    model, batch, plan, spans, style or model.prompt_style, at_once
                )
                for each in made:
                    each.tries = tries
                    each.meta = {**each.meta, **(extras or {}).get(each.id, {})}
                if save is not None:
                    save(made)
                predictions += made
                bar.update(len(made))
    finally:
        model.train(was_training)
    return predictions


def _predict_batch(
    model: Any,
    batch: Mapping[str, Any],
    plan: AnswerPlan,
    spans: Spans | None,
    style: PromptStyle,
    at_once: int | None,
) -> list[Prediction]:
    pictures = _pictures(batch)
    texts = [prompt_of(model, each, style) for each in batch["instruction_input"]]
    if plan.mode == RANK:
        candidates = [plan.choices(meta) for meta in batch["meta"]]
        answers = _ranked(model, texts, pictures, candidates)
    else:
        answers = _generated(model, texts, pictures, plan, spans, at_once)
    return [
        Prediction(
            id=batch["sample_id"][i],
            **answer,
            question=batch["instruction_input"][i],
            reference=batch["answer"][i],
            image_path=batch["image_path"][i],
            picture=batch["picture"][i],
            meta=batch["meta"][i],
        )
        for i, answer in enumerate(answers)
    ]


def _pictures(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Each picture of a batch once, and which of them each sample is about."""
    names = {"images": "image", "image_features": "image_features"}
    found = {argument: batch[key] for argument, key in names.items() if key in batch}
    rows: dict[str | None, int] = {}
    for row, path in enumerate(batch["image_path"]):
        rows.setdefault(path, row)
    if not found or "length" in batch or len(rows) == len(batch["image_path"]):
        return found
    place = {path: number for number, path in enumerate(rows)}
    once = list(rows.values())
    return {argument: values[once] for argument, values in found.items()} | {
        "picture_of": [place[path] for path in batch["image_path"]]
    }


def _generated(
    model: Any,
    texts: Sequence[str],
    pictures: Mapping[str, Any],
    plan: AnswerPlan,
    spans: Spans | None,
    at_once: int | None,
) -> list[dict[str, Any]]:
    from minigpt4.models.generation import span_probability

    def answer(made: Generation) -> dict[str, Any]:
        parts = spans(made.text) if spans else {}
        return {
            "answer": made.text,
            "finished": made.finished,
            "probability": math.exp(made.logprob),
            "probabilities": {
                name: span_probability(made, start, end) for name, (start, end) in parts.items()
            },
            "steps": made.steps,
        }

    given: dict[str, Any] = {**pictures, **asdict(plan.search)}
    if plan.constraint is not None:
        given["constraint"] = plan.constraint
    if at_once is not None and at_once < len(texts):
        given["at_once"] = at_once
    generations = model.generate_scored(texts=texts, **given)
    return [answer(made) for made in generations]


def _ranked(
    model: Any,
    texts: Sequence[str],
    pictures: Mapping[str, Any],
    candidates: Sequence[Sequence[str]],
) -> list[dict[str, Any]]:
    """The likeliest candidates; ``steps`` counts the prompt's pass and one for the candidates."""
    ranking = model.rank_answers(
        pictures.get("images"),
        texts,
        candidates,
        image_features=pictures.get("image_features"),
        picture_of=pictures.get("picture_of"),
    )
    return [
        {
            "answer": ranked[0].text,
            "finished": True,
            "probability": math.exp(ranked[0].logprob),
            "steps": 2,
        }
        for ranked in ranking
    ]


def prompt_of(model: Any, instruction: str, style: PromptStyle | None = None) -> str:
    """The prompt with which this model is asked, by the code that builds its training prompts."""
    return inference_prompt(
        instruction,
        template=model.settings.prompt_template,
        chat_template=model.settings.chat_template,
        style=style or model.prompt_style,
    )

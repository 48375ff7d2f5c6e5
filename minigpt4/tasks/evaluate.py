"""One evaluation from configuration to metrics: answers, scores, files, report."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minigpt4.common.errors import DataError
from minigpt4.common.files import make_folder, write_json
from minigpt4.scoring.defect_answers import parse_answer
from minigpt4.scoring.kinds import KINDS, ScoreOptions, get_kind
from minigpt4.scoring.prediction import Prediction
from minigpt4.tasks.eval_setup import EvalData, load_model, open_eval_data
from minigpt4.tasks.predict import PredictionLog, predict

if TYPE_CHECKING:
    from minigpt4.common.config import Config
    from minigpt4.datasets.base import RecordDataset
    from minigpt4.datasets.features import FeatureCache
    from minigpt4.models.generation import GenerationOptions

logger = logging.getLogger(__name__)

RESAMPLE_ROUNDS = 20
"""How often ``resample`` asks again for answers that cannot be read."""
RESAMPLING: dict[str, Any] = {"do_sample": True, "temperature": 1.0, "top_p": 0.9}

_STYLES = {
    "training": "exactly as in training",
    "original": "as the original evaluated: two BOS, one space before [/INST]",
}
PRIMARY_METRIC = {name: kind.primary for name, kind in KINDS.items()}
"""The metric that stands for an evaluation, by its kind."""


@dataclass(slots=True, kw_only=True)
class EvalResult:
    """What an evaluation gave.

    Attributes:
        name: The entry of ``evaluation_datasets``.
        kind: ``vqa`` or ``detection``.
        metrics: See ``score_vqa`` and ``score_detection``; also in the file ``metrics``.
        predictions: In the order of the data.
        files: ``predictions``, ``answers``, ``metrics`` and ``report``.
    """

    name: str
    kind: str
    metrics: dict[str, Any]
    predictions: list[Prediction]
    files: dict[str, Path] = field(default_factory=dict)


def evaluate(
    cfg: Config,
    name: str,
    *,
    model: Any = None,
    data: EvalData | None = None,
    cache: FeatureCache | None = None,
    blank: bool = False,
    save_path: str | Path | None = None,
    resample: bool = False,
    report: bool = True,
) -> EvalResult:
    """Evaluate on one entry of ``evaluation_datasets`` and write its files.

    Args:
        cfg: The configuration.
        name: The entry.
        model: A loaded model to use; None loads the configuration's.
        data: The opened entry; None opens it (before the model is loaded).
        cache: The encoder's outputs of pictures; those that are missing are added. None keeps them
            as ``run.feature_cache`` says.
        blank: Replace every picture by a plain grey one: what is left is guessing from the text.
        save_path: Folder of the files; None for ``run.save_path``.
        resample: Ask again, sampling, where a detection cannot be read.
        report: Also write the HTML page.
    """
    from minigpt4.models.generation import GenerationOptions

    folder = Path(save_path if save_path is not None else cfg.run().save_path)
    make_folder(folder)
    data = data or open_eval_data(cfg, name, blank=blank)
    model = model if model is not None else load_model(cfg)
    if cache is None:
        cache = _own_cache(cfg, data, model)
    if cache is not None:
        _use_cache(data, model, cache)
    kind = get_kind(data.kind)
    search = GenerationOptions(max_new_tokens=data.settings.max_new_tokens)
    run = _identity(cfg, data, model, search)
    logger.info(
        "%s: %d samples, prompts in %s style (%s)",
        name, len(data.dataset), model.prompt_style, _STYLES[model.prompt_style],
    )  # fmt: skip
    files = {
        "predictions": folder / f"{name}_predictions.jsonl",
        "answers": folder / kind.answers_file.format(name=name),
        "metrics": folder / f"{name}_metrics.json",
    }
    options: dict[str, Any] = {
        "batch_size": data.settings.batch_size,
        "spans": kind.spans,
        "num_workers": cfg.run().num_workers,
    }
    extra: dict[str, Any] = {}
    with PredictionLog(files["predictions"], run) as log:
        predictions = predict(model, data.dataset, options=search, log=log, desc=name, **options)
        if resample:
            extra["resampled"] = _resample(
                model, data.dataset, predictions, search, cfg.run().seed, log=log, **options
            )
    metrics = kind.score(predictions, ScoreOptions(score=cfg.run().score)) | extra
    write_json(files["answers"], kind.answers(predictions))
    write_json(files["metrics"], {"run": run, "metrics": metrics})
    result = EvalResult(
        name=name, kind=data.kind, metrics=metrics, predictions=predictions, files=files
    )
    if report:
        from minigpt4.reports.page import write_report
        from minigpt4.reports.sections import describe_run, evaluation_sections

        files["report"] = folder / f"{name}_report.html"
        write_report(
            files["report"],
            title=f"Evaluation on {name}",
            subtitle=describe_run(run),
            sections=evaluation_sections(data.kind, metrics, predictions),
        )
    for line in kind.summary(metrics):
        logger.info("%s", line)
    logger.info("Written: %s", ", ".join(str(path) for path in files.values()))
    return result


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
    """The figures of a data set without files, for validation while training.

    Args:
        model: The model as it stands; its training mode is restored.
        dataset: Opened for evaluation (``training=False``).
        kind: ``vqa`` or ``detection``; ``PRIMARY_METRIC`` names its most telling figure.
        batch_size: Samples a generation step.
        max_new_tokens: Longest answer in tokens.
        indices: Only these samples.
        gather: Joins this process's predictions with those of others on their share.
    """
    from minigpt4.models.generation import GenerationOptions

    predictions = predict(
        model,
        dataset,
        batch_size=batch_size,
        options=GenerationOptions(max_new_tokens=max_new_tokens),
        spans=KINDS[kind].spans,
        indices=indices,
        style="training",  # also where training began from a checkpoint of the original
    )
    if gather is not None:
        predictions = gather(predictions)
    metrics = KINDS[kind].score(predictions, ScoreOptions(resamples=0))
    return {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def _own_cache(cfg: Config, data: EvalData, model: Any) -> FeatureCache | None:
    from minigpt4.datasets.features import FeatureCache, cache_root

    mode = cfg.run().feature_cache
    if mode == "off":
        return None
    return FeatureCache(
        mode,  # type: ignore[arg-type]
        None if mode == "memory" else cache_root(),
        encoder_fingerprint=model.visual_encoder.fingerprint(),
        processor_fingerprint=data.vis_processor.fingerprint(),
    )


def _use_cache(data: EvalData, model: Any, cache: FeatureCache) -> None:
    built = cache.build(
        data.dataset.image_paths(),
        model.encode_image_features,
        data.vis_processor,
        batch_size=max(data.settings.batch_size, 32),
    )
    if built.broken:
        path, reason = next(iter(built.broken.items()))
        raise DataError(f"{len(built.broken)} pictures cannot be read, such as {path}: {reason}")
    data.dataset.use_features(None if built.mode == "off" else cache)


def _resample(
    model: Any,
    dataset: RecordDataset,
    predictions: list[Prediction],
    search: GenerationOptions,
    seed: int,
    **options: Any,
) -> dict[str, int]:
    """Sample anew, in place, what cannot be read, a bounded number of times."""
    import torch

    def unread() -> list[int]:
        return [i for i, each in enumerate(predictions) if not parse_answer(each.answer)]

    asked = remaining = unread()
    rounds = 0
    while remaining and rounds < RESAMPLE_ROUNDS:
        rounds += 1
        torch.manual_seed(seed + rounds)
        sampled = predict(
            model,
            dataset,
            options=dataclasses.replace(search, **RESAMPLING),
            indices=remaining,
            tries=rounds,
            desc=f"resampling {rounds}",
            **options,
        )
        for index, made in zip(remaining, sampled, strict=True):
            predictions[index] = made
        remaining = unread()
    logger.info(
        "Resampled %d answers that could not be read, in %d rounds; %d remain",
        len(asked), rounds, len(remaining),
    )  # fmt: skip
    return {"asked": len(asked), "rounds": rounds, "remaining": len(remaining)}


def _identity(cfg: Config, data: EvalData, model: Any, search: GenerationOptions) -> dict[str, Any]:
    """What must be equal for two evaluations to be compared, and what made this one."""
    import minigpt4

    settings = cfg.model()
    return {
        "name": data.name,
        "kind": data.kind,
        "eval_file": str(data.settings.eval_file_path),
        "samples": len(data.dataset),
        "blank": data.settings.blank,
        "arch": settings.arch,
        "vit_model": settings.vit_model,
        "llama_model": settings.llama_model,
        "ckpt": settings.ckpt,
        "prompt_style": model.prompt_style,
        "decoding": dataclasses.asdict(search),
        "score": cfg.run().score,
        "version": minigpt4.__version__,
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
    }

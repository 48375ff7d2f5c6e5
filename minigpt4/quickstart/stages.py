"""The stages of the quick start, each with its heading and its time."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minigpt4.common.errors import WeightsError
from minigpt4.common.files import write_json
from minigpt4.quickstart.outcome import Outcome, constant_answer_map
from minigpt4.quickstart.page import write_page
from minigpt4.quickstart.settings import MVTEC, PRETRAINED, TASKS, VIVQA, QuickSettings, QuickTask
from minigpt4.tasks.eval_setup import load_model, open_eval_data
from minigpt4.tasks.evaluate import EvalResult, evaluate

if TYPE_CHECKING:
    from minigpt4.common.config import Config
    from minigpt4.common.settings import ModelSettings

logger = logging.getLogger(__name__)

_STAGES = 6


class _Clock:
    """Announces stages and keeps their seconds.

    Args:
        outcome: Gets the seconds.
        side_by_side: Whether both tasks train in one stage, else in two.
    """

    def __init__(self, outcome: Outcome, *, side_by_side: bool) -> None:
        self.side_by_side = side_by_side
        self._outcome = outcome
        self._number = 0
        self._last = _STAGES if side_by_side else _STAGES + 1

    @contextlib.contextmanager
    def stage(self, key: str, heading: str) -> Iterator[None]:
        self._number += 1
        logger.info("\n[%d/%d] %s", self._number, self._last, heading)
        begin = time.monotonic()
        yield
        self._outcome.stages[key] = time.monotonic() - begin


def run_quickstart(settings: QuickSettings, *, loading: float = 0.0) -> Outcome:
    """Run every stage and write ``results.json`` and ``report.html``.

    Args:
        settings: What to run.
        loading: Seconds that libraries took to load, which count as a stage of their own.
    Raises:
        UserError: The pre-trained checkpoint is missing, the disk is full ...
    """
    from minigpt4.datasets.tiny.generate import generate
    from minigpt4.quickstart.training import pays_side_by_side

    if not PRETRAINED.is_file():
        raise WeightsError(
            f"The small pre-trained checkpoint {PRETRAINED} is missing: run from the project's "
            "folder, and restore it with `git checkout ckpt/tiny` or `make pretrain-tiny`."
        )
    settings.out.mkdir(parents=True, exist_ok=True)
    outcome = Outcome(scale=settings.scale, stages={"loading": loading})
    clock = _Clock(outcome, side_by_side=pays_side_by_side(settings))
    models = _Models()
    with clock.stage("data", "Making pictures and questions"):
        for part, counts in generate(
            settings.data, scale=settings.scale, parts=("vivqa", "mvtec")
        ).items():
            logger.info("%s: %s", part, ", ".join(f"{k} {v}" for k, v in counts.items()))
    with clock.stage("encode", "Encoding each picture once (frozen EfficientNet-Lite0)"):
        _encode(settings, models)
    with clock.stage("pretrained", "Evaluating the pre-trained model as it is"):
        for task in TASKS:
            outcome.pretrained[task.key] = _evaluate(
                settings, task, PRETRAINED, "pretrained", models
            )
    checkpoints = _fine_tune(settings, outcome, clock)
    with clock.stage("finetuned", "Evaluating the fine-tuned models"):
        for task in TASKS:
            outcome.finetuned[task.key] = _evaluate(
                settings, task, checkpoints[task.key], "finetuned", models
            )
            if task is VIVQA:
                logger.info("\nThe same questions with every picture blanked:")
                outcome.blank = _evaluate(
                    settings, task, checkpoints[task.key], "blank", models, blank=True
                )
        outcome.constant_box = constant_answer_map(
            outcome.finetuned[MVTEC.key].predictions, settings.data / MVTEC.train_annotations
        )
    with clock.stage("report", "Writing the report"):
        write_page(settings.out / "report.html", outcome)
    write_json(settings.out / "results.json", outcome.results())
    return outcome


class _Models:
    """The model that was loaded last, for as long as the next stage asks for the same."""

    def __init__(self) -> None:
        self._wanted: tuple[ModelSettings, str] | None = None
        self._model: Any = None

    def load(self, config: Config) -> Any:
        """The model of a configuration."""
        wanted = (config.model(), config.run().device)
        if wanted != self._wanted:
            self._model = None  # two need not fit into memory
            self._model, self._wanted = load_model(config), wanted
        return self._model


def _encode(settings: QuickSettings, models: _Models) -> None:
    """Fill the disk cache of features, where all later stages look, with every picture."""
    from minigpt4.datasets.features import FeatureCache, cache_root
    from minigpt4.tasks.image_text_pretrain import ImageTextPretrainTask

    config = settings.eval_config(VIVQA, PRETRAINED)
    model = models.load(config)
    processor = open_eval_data(config, VIVQA.name).vis_processor
    cache = FeatureCache(
        "disk",
        cache_root(),
        encoder_fingerprint=model.visual_encoder.fingerprint(),
        processor_fingerprint=processor.fingerprint(),
    )
    paths: list[str] = []
    for task in TASKS:
        data = open_eval_data(settings.eval_config(task, PRETRAINED), task.name)
        train = settings.train_config(task)
        for split in ImageTextPretrainTask().build_datasets(train, ["train"]):
            paths += split.records.image_paths()
        paths += data.dataset.image_paths()
    cache.build(paths, model.encode_image_features, processor)


def _evaluate(
    settings: QuickSettings,
    task: QuickTask,
    checkpoint: Path,
    label: str,
    models: _Models,
    *,
    blank: bool = False,
) -> EvalResult:
    config = settings.eval_config(task, checkpoint)
    return evaluate(
        config,
        task.name,
        load=lambda: models.load(config),
        blank=blank,
        save_path=settings.out / label,
        report=False,
        fresh=True,  # of a quick start that was run before other weights may be left
    )


def _fine_tune(settings: QuickSettings, outcome: Outcome, clock: _Clock) -> dict[str, Path]:
    """Fine-tune on both tasks; checkpoints by task key, kept where the demo finds them."""
    from minigpt4.quickstart.training import fine_tune, fine_tune_side_by_side
    from minigpt4.runners.records import read_records

    trained = {}
    if clock.side_by_side:
        with clock.stage("train", "Fine-tuning on both tasks, side by side"):
            trained = fine_tune_side_by_side(settings)
    else:
        for task in TASKS:
            with clock.stage(f"train_{task.key}", f"Fine-tuning: {task.title}"):
                trained[task.key] = fine_tune(settings, task)
    checkpoints = {}
    for key, each in trained.items():
        steps = [record for record in read_records(each.log) if record["kind"] == "train"]
        outcome.curves[key] = ([s["step"] for s in steps], [s["loss"] for s in steps])
        checkpoints[key] = settings.out / f"{key}.pth"
        shutil.copy(each.checkpoint, checkpoints[key])
    return checkpoints

"""The task of every training configuration: predict an answer after a picture and a prompt."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minigpt4.common.errors import ConfigError
from minigpt4.common.registry import registry
from minigpt4.common.settings import DatasetSettings, RunSettings
from minigpt4.datasets.schema import Batch
from minigpt4.tasks.base import BaseTask, EvaluationData, TrainingData

if TYPE_CHECKING:
    import torch

    from minigpt4.common.config import Config
    from minigpt4.datasets.base import RecordDataset
    from minigpt4.datasets.streams.dataset import StreamDataset

logger = logging.getLogger(__name__)

_ANSWER_TOKENS = {"vqa": 20, "detection": 40, "objects": 300}
"""Longest answer in tokens when validating, by kind; as in the tutorial's evaluation, and for
objects about a dozen boxes."""


@dataclass(kw_only=True)
class Split:
    """One split of one data set, opened."""

    name: str
    split: str
    dataset: RecordDataset | StreamDataset
    settings: DatasetSettings

    @property
    def is_stream(self) -> bool:
        """Whether samples only come in the order of a stream of shards."""
        from minigpt4.datasets.streams.dataset import StreamDataset

        return isinstance(self.dataset, StreamDataset)

    @property
    def records(self) -> RecordDataset:
        """The data set, for what needs an index.

        Raises:
            ConfigError: It is a stream.
        """
        from minigpt4.datasets.base import RecordDataset

        if not isinstance(self.dataset, RecordDataset):
            raise ConfigError(
                f"{self.name} is a stream of shards, which can only be trained on: take its split "
                f"{self.split} out of run.valid_splits and run.test_splits."
            )
        return self.dataset

    @property
    def kind(self) -> str | None:
        """The kind of evaluation that suits the data set: vqa, detection, objects or None."""
        from minigpt4.datasets.vqa import VQADataset

        if isinstance(self.dataset, VQADataset):
            return "vqa"
        task = self.records.spec.task
        return task if task in ("detection", "objects") else None


@registry.register_task("image_text_pretrain")
class ImageTextPretrainTask(BaseTask):
    """Builds what a configuration names and turns it into batches."""

    def build_model(self, cfg: Config, device: torch.device | None = None) -> Any:
        """The model of section ``model``, its checkpoint loaded."""
        return registry.get_model_class(cfg.model().arch).from_config(cfg.model_cfg, device)

    def build_datasets(self, cfg: Config, splits: list[str], *, fetch: bool = False) -> list[Split]:
        """Open the named splits of every data set; of a stream only ``train``.

        Args:
            cfg: The configuration.
            splits: Their names.
            fetch: Download annotation files that are missing and whose address is known.

        Raises:
            ConfigError: Section ``datasets`` is empty, or has only streams where another split is
                asked for.
            DataError: Annotations or pictures are missing or broken.
            AccessError: A download was refused or is gone.
        """
        from minigpt4.datasets.builders import RecordBuilder, make_builder
        from minigpt4.datasets.streams.builder import StreamBuilder

        if not cfg.dataset_names:
            raise ConfigError("The configuration has no section datasets: name one to train on.")
        opened = []
        for name in cfg.dataset_names:
            settings = cfg.dataset(name)
            builder = make_builder(name, settings, seed=cfg.run().seed)
            for split in splits:
                if split != "train" and isinstance(builder, StreamBuilder):
                    logger.info("%s is a stream of shards: it has no split %s", name, split)
                    continue
                if fetch and isinstance(builder, RecordBuilder):
                    builder.fetch_annotations(split)
                dataset = builder.build_split(split)
                opened.append(Split(name=name, split=split, dataset=dataset, settings=settings))
        if not opened:
            raise ConfigError(
                f"only streams of shards are configured, which have no split {', '.join(splits)}: "
                "leave run.valid_splits and run.test_splits empty, or add a data set with an "
                "annotation file."
            )
        return opened

    def training_data(
        self,
        run: RunSettings,
        train: list[Split],
        valid: list[Split],
        *,
        rank: int = 0,
        world_size: int = 1,
        pin_memory: bool = False,
    ) -> TrainingData:
        """Batches that mix the training splits, and those of the validation splits in order.

        Args:
            run: Section ``run``.
            train: Splits to train on.
            valid: Splits to validate on; may be empty.
            rank: Number of this process; each gets its own share of every global batch.
            world_size: Number of processes.
            pin_memory: For copies to CUDA.
        """
        from minigpt4.datasets.loaders import train_loader
        from minigpt4.datasets.sampling import describe_mixture, one_pass_steps, step_odds

        datasets = [each.dataset for each in train]
        batch_sizes = [each.settings.batch_size for each in train]
        ratios = [each.settings.sample_ratio for each in train]
        odds = step_odds(ratios, batch_sizes, run.mixing)
        if len(train) > 1:
            names = [each.name for each in train]
            logger.info("mixing: %s", describe_mixture(names, odds, batch_sizes))
        iters = run.iters_per_epoch or one_pass_steps(
            [_one_pass(dataset) for dataset in datasets], batch_sizes, world_size=world_size
        )

        def train_batches(epoch: int, first: int) -> Iterator[Batch]:
            return iter(
                train_loader(
                    datasets,
                    batch_sizes=batch_sizes,
                    odds=odds,
                    seed=run.seed,
                    num_steps=iters - first,
                    start_step=epoch * iters + first,
                    num_workers=run.num_workers,
                    rank=rank,
                    world_size=world_size,
                    pin_memory=pin_memory,
                )
            )

        return TrainingData(
            iters_per_epoch=iters,
            batch_size=batch_sizes[0],
            train_batches=train_batches,
            valid=self.evaluation_data(
                run, valid, rank=rank, world_size=world_size, pin_memory=pin_memory
            )
            if valid
            else None,
        )

    def evaluation_data(
        self,
        run: RunSettings,
        splits: list[Split],
        *,
        rank: int = 0,
        world_size: int = 1,
        pin_memory: bool = False,
    ) -> EvaluationData:
        """Batches of some splits in order, each sample in one process; see ``training_data``."""
        from minigpt4.datasets.loaders import eval_loader

        def batches() -> Iterator[Batch | None]:
            for each in splits:
                size, count = each.settings.batch_size, len(each.records)
                loader = eval_loader(
                    each.records,
                    batch_size=size,
                    num_workers=run.num_workers,
                    indices=range(rank, count, world_size),
                    pin_memory=pin_memory,
                )
                yield from loader
                # Processes validate in step, so one that got fewer batches waits with empty ones.
                yield from [None] * (_batches(count, size, world_size) - len(loader))

        iters = sum(
            _batches(len(each.records), each.settings.batch_size, world_size) for each in splits
        )
        return EvaluationData(iters=iters, batches=batches, source=splits)

    def evaluation_figures(self, model: Any, data: EvaluationData) -> dict[str, float]:
        """The metric of each question or defect data set on the model's answers."""
        from accelerate.utils import gather_object

        from minigpt4.common.distributed import rank, world_size
        from minigpt4.scoring.kinds import get_kind
        from minigpt4.tasks.validation import evaluate_dataset

        figures = {}
        for each in data.source:
            if each.kind is None:
                continue
            metrics = evaluate_dataset(
                model,
                each.records,
                each.kind,
                each.settings.batch_size,
                _ANSWER_TOKENS[each.kind],
                indices=range(rank(), len(each.records), world_size()),
                gather=gather_object if world_size() > 1 else None,
            )
            name = get_kind(each.kind).primary
            if name in metrics:
                figures[f"{each.name}_{name}"] = metrics[name]
        return figures

    def validation_score(self, figures: dict[str, float]) -> list[float]:
        """The mean of the data sets' metrics, then the loss."""
        metrics = [value for name, value in figures.items() if name != "loss"]
        mean = sum(metrics) / len(metrics) if metrics else 0.0
        return [mean, -figures["loss"]]


def _one_pass(dataset: RecordDataset | StreamDataset) -> int:
    from minigpt4.datasets.base import RecordDataset

    return len(dataset) if isinstance(dataset, RecordDataset) else dataset.one_pass()


def _batches(count: int, batch_size: int, world_size: int) -> int:
    """Batches of the process that has most of ``count`` samples."""
    return math.ceil(math.ceil(count / world_size) / batch_size)

"""Opens what a configuration would train or test on, whatever is wrong with it."""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from minigpt4.common.config import Config
from minigpt4.common.errors import ConfigError, UserError
from minigpt4.common.registry import registry
from minigpt4.common.settings import DatasetSettings, EvalDatasetSettings
from minigpt4.datasets.base import RecordDataset
from minigpt4.datasets.builders import RecordBuilder, build_eval_dataset, make_builder
from minigpt4.datasets.builders.evaluation import eval_splits
from minigpt4.datasets.builders.record_builder import build_processor
from minigpt4.datasets.opening import Faults, collecting_faults
from minigpt4.datasets.overlap import find_test_file, find_train_file
from minigpt4.datasets.streams.dataset import StreamDataset
from minigpt4.doctor.findings import Finding, Place
from minigpt4.doctor.patients import Patient

logger = logging.getLogger(__name__)

STREAM_SAMPLES = 200
"""Samples of a stream that are looked at."""


@dataclass
class Admission:
    """What could be opened.

    Attributes:
        patients: Data sets that can be looked at.
        findings: Why others cannot.
        unused: Entries that only name processors.
    """

    patients: list[Patient] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)


def admit(cfg: Config) -> Admission:
    """Open all splits of ``datasets`` and ``evaluation_datasets``, and the files that go with them.

    A training file without a test set of its kind in the configuration is compared with the one
    that lies beside it under its usual name, and the other way round.

    Raises:
        ConfigError: The configuration names no data.
    """
    opened = Admission()
    for name in cfg.dataset_names:
        if _only_processors(cfg, name):
            opened.unused.append(f"datasets.{name}")
        else:
            _admit_training(cfg, name, opened)
    for name in cfg.eval_dataset_names:
        _admit_evaluation(cfg, name, opened)
    if not opened.patients and not opened.findings:
        raise ConfigError(
            "The configuration names no data to look at: it has no evaluation_datasets, and its "
            "datasets only name processors."
        )
    return opened


_TRAINING_KEYS = ("init_lr", "lr_sched", "max_epoch", "iters_per_epoch", "output_dir")
"""Keys of section ``run`` of which a configuration for training sets some."""


def _only_processors(cfg: Config, name: str) -> bool:
    """Whether an entry is there for its processors alone, as in files for evaluation."""
    keys = [f"run.{key}" for key in _TRAINING_KEYS]
    keys += [f"datasets.{name}.{key}" for key in ("batch_size", "sample_ratio")]
    return not any(map(cfg.is_said, keys))


def _admit_training(cfg: Config, name: str, opened: Admission) -> None:
    settings, run = cfg.dataset(name), cfg.run()
    splits = dict.fromkeys([*run.train_splits, *run.valid_splits, *run.test_splits])
    for split in splits:
        patient = _attempt(
            opened,
            f"datasets.{name}",
            split,
            partial(_training_patient, cfg, name, settings, split),
        )
        if patient is not None and patient.role == "train":
            _admit_test_beside(cfg, name, settings, patient, opened)


def _training_patient(cfg: Config, name: str, settings: DatasetSettings, split: str) -> Patient:
    builder = make_builder(name, settings, seed=cfg.run().seed)
    with collecting_faults() as faults:
        dataset = _built(builder, split, faults)
    return Patient(
        key=f"datasets.{name}",
        split=split,
        role="train" if split in cfg.run().train_splits else "test",
        dataset=dataset,
        faults=faults,
        text_processor=build_processor(
            settings.text_processor, split=split, default="blip_caption"
        ),
        sampled=_sampled(dataset),
    )


class _NothingUsableError(UserError):
    """A data set whose rows are all faulty."""

    def __init__(self, error: UserError, faults: Faults) -> None:
        super().__init__(str(error))
        self.faults = faults


def _built(builder: Any, split: str, faults: Faults) -> RecordDataset | StreamDataset:
    try:
        dataset: RecordDataset | StreamDataset = builder.build_split(split)
    except UserError as error:
        raise _NothingUsableError(error, faults) from error
    return dataset


def _sampled(dataset: RecordDataset | StreamDataset) -> int:
    if isinstance(dataset, RecordDataset):
        return 0
    try:
        return min(STREAM_SAMPLES, dataset.one_pass())
    except ConfigError:  # shards that are not here cannot be counted
        return STREAM_SAMPLES


def _admit_evaluation(cfg: Config, name: str, opened: Admission) -> None:
    key = f"evaluation_datasets.{name}"
    settings = cfg.eval_dataset(name)
    try:
        splits = eval_splits(name, settings)
    except UserError as error:
        opened.findings.append(_cannot_open(key, "test", error, cfg.origin(key)))
        return
    for split, each in splits.items():
        short = split.removeprefix(f"{name}_") if split != name else "test"
        patient = _attempt(
            opened,
            key,
            short,
            partial(_evaluation_patient, cfg, name, each, short),
        )
        if patient is not None:
            _admit_training_beside(cfg, name, each, patient, opened)


def _evaluation_patient(
    cfg: Config, name: str, settings: EvalDatasetSettings, split: str
) -> Patient:
    vis_settings, text_settings = cfg.eval_processors(name)
    vis = registry.get_processor_class(vis_settings.name).from_config(vis_settings)
    text_name = text_settings.name if text_settings else "blip_caption"
    text = registry.get_processor_class(text_name).from_config(text_settings)
    with collecting_faults() as faults:
        try:
            dataset = build_eval_dataset(name, settings, vis_processor=vis, text_processor=text)
        except UserError as error:
            raise _NothingUsableError(error, faults) from error
    return Patient(
        key=f"evaluation_datasets.{name}",
        split=split,
        role="test",
        dataset=dataset,
        faults=faults,
        text_processor=text,
        max_new_tokens=settings.max_new_tokens,
        blank=settings.blank,
    )


def _attempt(
    opened: Admission, key: str, split: str, make: Callable[[], Patient]
) -> Patient | None:
    """Open one split; if that fails it is a finding, with all the rows that are to blame."""
    try:
        patient = make()
    except UserError as error:
        faults = error.faults if isinstance(error, _NothingUsableError) else Faults()
        opened.findings.append(_cannot_open(key, split, error, key, faults))
        return None
    opened.patients.append(patient)
    return patient


def _cannot_open(
    key: str, split: str, error: UserError, where: str, faults: Faults | None = None
) -> Finding:
    table, rows = (None, {}) if faults is None else (faults.table, faults.rows)
    places = [Place(where, None, str(error))]
    if table is not None:
        places += [Place(*table.source(number), rows[number]) for number in sorted(rows)]
    return Finding(
        code="cannot_open",
        severity="error",
        dataset=f"{key} ({split})",
        summary=f"It cannot be opened: {error}",
        remedy="Do what the message says; what else is wrong shows once it opens.",
        places=places,
        figures={"rows": len(rows)} if rows else {},
    )


# Files that the configuration does not name, but that lie beside those that it names.


def _admit_test_beside(
    cfg: Config, name: str, settings: DatasetSettings, patient: Patient, opened: Admission
) -> None:
    if patient.records is None or _has_counterpart(cfg, patient, opened, role="test"):
        return
    file = find_test_file(Path(patient.files[0]))
    if file is None:
        return
    builder = make_builder(name, copy.deepcopy(settings), seed=cfg.run().seed)
    assert isinstance(builder, RecordBuilder)
    builder.build_info = {**builder.build_info, "test_ann_path": str(file)}
    with collecting_faults() as faults:
        _companion(
            opened,
            patient,
            lambda: builder.build_split("test"),
            faults=faults,
            split="test",
            file=file,
        )


def _admit_training_beside(
    cfg: Config, name: str, settings: EvalDatasetSettings, patient: Patient, opened: Admission
) -> None:
    if settings.train_file_path == "" or _has_counterpart(cfg, patient, opened, role="train"):
        return
    asked = settings.train_file_path
    file = Path(asked) if asked else find_train_file(Path(patient.files[0]))
    if file is None or any(str(file) in each.files for each in opened.patients):
        return
    assert patient.records is not None
    vis, text = patient.records.vis_processor, patient.text_processor
    changed = dataclasses.replace(settings, eval_file_path=str(file), limit=None)
    with collecting_faults() as faults:
        _companion(
            opened,
            patient,
            lambda: build_eval_dataset(name, changed, vis_processor=vis, text_processor=text),
            faults=faults,
            split="train",
            file=file,
        )


def _has_counterpart(cfg: Config, patient: Patient, opened: Admission, *, role: str) -> bool:
    """Whether the configuration itself names a set to compare with."""
    if role == "test" and patient.key.removeprefix("datasets.") in cfg.eval_dataset_names:
        return True
    return any(each.role == role and each.is_counterpart(patient) for each in opened.patients)


def _companion(
    opened: Admission,
    patient: Patient,
    build: Callable[[], RecordDataset],
    *,
    faults: Faults,
    split: str,
    file: Path,
) -> None:
    try:
        dataset = build()
    except UserError as error:
        logger.warning("%s: %s beside it is not compared: %s", patient.label, file, error)
        return
    opened.patients.append(
        Patient(
            key=patient.key,
            split=split,
            role="train" if split == "train" else "test",
            dataset=dataset,
            faults=faults,
            text_processor=patient.text_processor,
            companion=True,
            blank=patient.blank,
        )
    )

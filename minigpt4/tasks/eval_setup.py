"""What an evaluation needs before it begins: its entry, its opened data, its model."""

from __future__ import annotations

import dataclasses
import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minigpt4.common.distributed import world_size
from minigpt4.common.errors import ConfigError, DataError, ResourceError, WeightsError
from minigpt4.common.files import make_folder
from minigpt4.common.registry import registry
from minigpt4.common.settings import EvalDatasetSettings
from minigpt4.scoring.kinds import KINDS

if TYPE_CHECKING:
    import torch

    from minigpt4.common.config import Config
    from minigpt4.datasets.base import RecordDataset
    from minigpt4.datasets.features import FeatureCache

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class EvalData:
    """An opened entry of ``evaluation_datasets``, or one of its splits.

    Attributes:
        name: The entry's; of one of several splits ``<entry>_<split>``.
        kind: ``vqa``, ``detection`` (of defects), ``objects`` or ``refer``.
        settings: The entry.
        dataset: Its samples.
        vis_processor: What pictures pass through.
    """

    name: str
    kind: str
    settings: EvalDatasetSettings
    dataset: RecordDataset
    vis_processor: Any


def find_entry(cfg: Config, *, name: str, kind: str) -> str:
    """The entry of ``evaluation_datasets`` that a script is about: its own, or the only of a kind.

    Raises:
        ConfigError: There is none, or several.
    """
    names = list(cfg.eval_dataset_names)
    if name in names:
        return name
    chosen = [each for each in names if cfg.eval_dataset(each).kind == kind]
    if len(chosen) == 1:
        return chosen[0]
    there = f"it has {', '.join(names)}" if names else "it has no entry"
    raise ConfigError(
        f"evaluation_datasets needs an entry {name!r}, or one entry of kind {kind!r}; {there}."
    )


def choose_entries(cfg: Config, wanted: Sequence[str] = ()) -> list[str]:
    """The entries that a user names; all where none is named.

    Raises:
        ConfigError: There is none of such a name.
    """
    known = list(cfg.eval_dataset_names)
    if not known:
        raise ConfigError("The configuration has no section evaluation_datasets to evaluate on.")
    unknown = [each for each in wanted if each not in known]
    if unknown:
        raise ConfigError(
            f"evaluation_datasets has no entry {', '.join(unknown)}; it has {', '.join(known)}."
        )
    return list(dict.fromkeys(wanted)) or known


def open_entries(
    cfg: Config, names: Sequence[str], *, splits: Sequence[str] = ()
) -> list[EvalData]:
    """Open entries, each of their splits by itself.

    Args:
        cfg: The configuration.
        names: The entries.
        splits: Of entries with several splits only these; empty for what the entries say.
    Raises:
        ConfigError: An entry is not complete, or has none of the splits.
        DataError: See ``open_eval_data``.
    """
    from minigpt4.datasets.builders.evaluation import eval_splits

    chosen = [(name, _with_splits(name, cfg.eval_dataset(name), splits)) for name in names]
    known = {split for _, settings in chosen for split in settings.files}
    unknown = [split for split in splits if split not in known]
    if unknown:
        raise ConfigError(
            f"None of {', '.join(names)} has a split {', '.join(unknown)}; they have "
            f"{', '.join(sorted(known)) or 'no splits'}."
        )
    return [
        _open(cfg, entry=name, name=split, settings=each)
        for name, settings in chosen
        for split, each in eval_splits(name, settings).items()
    ]


def _with_splits(
    name: str, settings: EvalDatasetSettings, splits: Sequence[str]
) -> EvalDatasetSettings:
    if not splits or len(settings.files) < 2:
        return settings
    own = [split for split in splits if split in settings.files]
    if not own:
        raise ConfigError(
            f"{name} has no split {', '.join(splits)}; it has {', '.join(settings.files)}."
        )
    return dataclasses.replace(settings, splits=own)


def open_eval_data(cfg: Config, name: str, *, blank: bool = False) -> EvalData:
    """Open the annotations of an entry and check that every picture is there.

    Args:
        cfg: The configuration.
        name: The entry.
        blank: Replace every picture by a plain grey one, whatever the entry says.
    Raises:
        ConfigError: The entry is not complete, of no known kind, or has several splits.
        DataError: Annotations or pictures are missing or broken, or there is no sample.
    """
    settings = cfg.eval_dataset(name)
    if blank:
        settings = dataclasses.replace(settings, blank=True)
    return _open(cfg, entry=name, name=name, settings=settings)


def blanked(cfg: Config, data: EvalData) -> EvalData:
    """The same data with every picture blanked."""
    settings = dataclasses.replace(data.settings, blank=True)
    return _open(cfg, entry=data.dataset.name, name=data.name, settings=settings)


def _open(cfg: Config, *, entry: str, name: str, settings: EvalDatasetSettings) -> EvalData:
    from minigpt4.datasets.builders import build_eval_dataset

    vis_processor, text_processor = build_processors(cfg, entry)
    kind = _kind_of(entry, settings)
    dataset = build_eval_dataset(
        entry, settings, vis_processor=vis_processor, text_processor=text_processor
    )
    if len(dataset) == 0:
        raise DataError(f"{settings.eval_file_path} holds no sample to evaluate on.")
    if dataset.spec.task == "objects":  # of kind detection, as its annotations turned out to be
        kind = "objects"
    return EvalData(name, kind, settings, dataset, vis_processor)


def _kind_of(name: str, settings: EvalDatasetSettings) -> str:
    kind = settings.kind
    if kind is None and name in registry.names("builder"):
        kind = registry.get_builder_class(name).kind
    if kind not in KINDS:
        raise ConfigError(
            f"evaluation_datasets.{name}.kind is {kind!r}, but must be one of {', '.join(KINDS)}."
        )
    return kind


def build_processors(cfg: Config, name: str) -> tuple[Any, Any]:
    """Image and text processor of an entry; the text processor is None where none is named."""
    vis, text = (
        each and registry.get_processor_class(each.name).from_config(each)
        for each in cfg.eval_processors(name)
    )
    return vis, text


def load_model(cfg: Config) -> Any:
    """The model of section ``model`` on the device of section ``run``, ready to answer.

    Evaluation files do not say whether training wrapped its instructions in the chat template: the
    checkpoint decides, and where it does not say they are wrapped, as the original always does.

    Raises:
        ResourceError: There is no such device.
        WeightsError: The language model or a checkpoint is missing or does not fit.
    """
    import torch

    from minigpt4.models.precision import choose_precision, fit_weights

    device = check_model(cfg)
    settings = cfg.model()
    if not settings.ckpt:
        logger.warning("model.ckpt is empty: the model answers as it is, without trained weights")
    with torch.random.fork_rng(devices=[]):
        # What no file brings is drawn; a run that is continued has to draw the same.
        torch.manual_seed(cfg.run().seed)
        model = registry.get_model_class(settings.arch).from_config(cfg.model_cfg, device)
    report = model.load_report
    wrapped = report.chat_template if report is not None else None
    model.settings.chat_template = wrapped is not False
    if device.type == "cpu":  # on GPUs weights are in half precision by themselves
        precision = choose_precision(device, amp=cfg.run().amp)
        fit_weights(model, precision.mixed)
        model.mixed = precision.dtype
    return model.eval()


def check_model(cfg: Config) -> torch.device:
    """Check what can be checked before a model is loaded; its device.

    Of several processes on GPUs each takes the one of its number on this machine.

    Raises:
        ResourceError: There is no such device.
        WeightsError: The checkpoint is missing.
    """
    from minigpt4.common.device import check_device

    name, settings = cfg.run().device, cfg.model()
    if name == "cuda" and world_size() > 1:
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    device = check_device(name)
    if settings.ckpt and not Path(settings.ckpt).expanduser().is_file():
        raise WeightsError(
            f"The checkpoint {settings.ckpt} (model.ckpt) does not exist: correct the path, name a "
            "run's checkpoint_<epoch>.pth, or see ckpt/README.md for the pre-trained one."
        )
    return device


def keep_features(cfg: Config, data: EvalData, model: Any, cache: FeatureCache | None) -> None:
    """Encode the pictures once, in the given cache or as the configuration says.

    Raises:
        DataError: A picture cannot be read.
    """
    from minigpt4.datasets.features import FeatureCache
    from minigpt4.datasets.loaders import worker_count

    run = cfg.run()
    if cache is None and run.feature_cache == "off":
        return
    if cache is None:
        cache = FeatureCache.of_run(run, encoder=model.visual_encoder, processor=data.vis_processor)
    built = cache.build(
        data.dataset.image_paths(),
        model.encode_image_features,
        data.vis_processor,
        batch_size=max(data.settings.batch_size, 32),
        num_workers=worker_count(run.num_workers),
    )
    if built.broken:
        reason = next(iter(built.broken.values()))  # it names the picture
        raise DataError(
            f"{data.name}: {len(built.broken)} of its pictures cannot be read: {reason}"
        )
    data.dataset.use_features(None if built.mode == "off" else cache)


def check_writable(folder: Path) -> None:
    """Make a folder of results and see that files can be written to it.

    Raises:
        ResourceError: They cannot.
    """
    make_folder(folder)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ResourceError(
            f"Nothing can be written to {folder} ({error.strerror}): choose another folder with "
            "--options run.save_path=DIR."
        ) from None

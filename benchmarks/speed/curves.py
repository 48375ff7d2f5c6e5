"""What a training step costs at other lengths and batches, and opening a data set of other sizes.

python -m speed.curves --sizes yardstick --precision fp32
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from speed.sizes import SIZES
from speed.subjects import BATCH, median_seconds, mixed, optimizer_of

LENGTHS = (64, 128, 256, 512, 1024)
BATCHES = (1, 2, 4, 8, 16)
ROWS = (1_000, 10_000, 100_000, 1_000_000)
_PICTURES = 50


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print one JSON line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", choices=SIZES, default="yardstick")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(argv)
    logging.disable(logging.WARNING)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        found = {
            **steps(args.sizes, args.precision, args.repeats, Path(folder)),
            "opening_s_by_rows": {rows: opening(rows, Path(folder)) for rows in ROWS},
        }
    sys.stdout.write(json.dumps(found) + "\n")


def steps(name: str, precision: str, repeats: int, folder: Path) -> dict[str, dict[int, float]]:
    """Seconds of a training step on text, by length at the usual batch and by batch."""
    from speed import ours

    subject = ours.build("ours", SIZES[name], folder)
    subject.narrow(precision)
    model, context = subject.model, mixed(precision)
    optimizer = optimizer_of(model)
    model.train()

    def seconds(lengths: Sequence[int]) -> float:
        samples = subject.text_samples(lengths)

        def step() -> None:
            with context():
                loss = model(samples)["loss"]
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        return round(median_seconds(step, repeats), 4)

    usual = SIZES[name].length
    return {
        "step_s_by_length": {length: seconds([length] * BATCH) for length in LENGTHS},
        "step_s_by_batch": {batch: seconds([usual] * batch) for batch in BATCHES},
    }


def opening(rows: int, folder: Path) -> float:
    """Seconds until the first batch of a data set with so many rows is there."""
    from PIL import Image

    from minigpt4.common.settings import DatasetSettings
    from minigpt4.datasets.builders import make_builder
    from minigpt4.datasets.loaders import train_loader

    images = folder / "images"
    if not images.is_dir():
        images.mkdir()
        for number in range(_PICTURES):
            Image.new("RGB", (64, 64), (number, 0, 0)).save(images / f"{number:012d}.jpg")
    path = folder / f"{rows}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["", "question", "answer", "img_id", "type"])
        lines.writerows(
            [number, f"màu của vật {number} là gì", "xanh", number % _PICTURES, 0]
            for number in range(rows)
        )
    build: dict[str, Any] = {"ann_path": str(path), "image_path": str(images)}
    begin = time.perf_counter()
    dataset = make_builder("vivqa", DatasetSettings(build_info=build)).build_split("train")
    loader = train_loader(
        [dataset], batch_sizes=[BATCH], odds=[1.0], seed=0, num_steps=1, num_workers=0
    )
    next(iter(loader))
    return round(time.perf_counter() - begin, 4)


def plot(found: dict[str, dict[Any, float]], path: Path, title: str) -> None:
    """Draw the three curves side by side."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = (
        ("step_s_by_length", f"positions of each of {BATCH} samples", "seconds a training step"),
        ("step_s_by_batch", "samples a batch", "seconds a training step"),
        ("opening_s_by_rows", "rows of the annotation file", "seconds to the first batch"),
    )
    figure, axes = plt.subplots(1, len(panels), figsize=(12, 3.6), layout="constrained")
    for axis, (key, across, up) in zip(axes, panels, strict=True):
        xs, ys = [float(x) for x in found[key]], list(found[key].values())
        axis.loglog(xs, ys, "o-", label="measured")
        axis.loglog(xs, [ys[-1] * x / xs[-1] for x in xs], ":", color="gray", label="in proportion")
        axis.set(xlabel=across, ylabel=up)
        axis.legend()
        axis.grid(alpha=0.3, which="both")
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()

"""How long a million annotations take to open, and how much memory they hold.

    python benchmarks/open_annotations.py [--rows 1000000] [--json FILE]

Made-up annotations in the forms of ViVQA (CSV), GQA (JSON) and VQAv2 (JSON, ten answers a row),
about a tenth as many pictures, are written to a temporary folder and opened as training does,
pictures' existence included. Each form is opened in a process of its own; a forked worker then
reads samples' texts, and the memory that is its alone is what a further loader process costs.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import csv
import itertools
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

# The project is run from its folder, not installed.
sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from minigpt4.common.errors import run_cli  # noqa: E402

_READ = 20_000
_WORDS = ("màu", "của", "chiếc", "bình", "là", "gì", "có", "bao", "nhiêu", "con", "mèo", "trên")
_ANSWERS = ("red", "blue", "green", "2", "yes", "no", "a cat", "on the table")


def main(argv: Sequence[str] | None = None) -> None:
    """Write, open, measure, say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args(argv)
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("vivqa", "gqa", "coco_vqa"):
            annotations = _write(name, Path(folder) / name, args.rows)
            fresh = multiprocessing.get_context("spawn")
            with concurrent.futures.ProcessPoolExecutor(1, mp_context=fresh) as process:
                figures[name] = process.submit(measure, name, str(annotations)).result()
            sys.stdout.write(f"{name}: {json.dumps(figures[name])}\n")
    if args.json:
        args.json.write_text(json.dumps({"rows": args.rows, **figures}, indent=1) + "\n")


def measure(name: str, annotations: str) -> dict[str, float]:
    """Open one data set in this fresh process."""
    from minigpt4.common.settings import DatasetSettings
    from minigpt4.datasets.builders import make_builder

    images = str(Path(annotations).parent / "images")
    settings = DatasetSettings(build_info={"ann_path": annotations, "image_path": images})
    builder = make_builder(name, settings)
    before = psutil.Process().memory_full_info().uss
    begin, begin_cpu = time.perf_counter(), time.process_time()
    dataset = builder.build_split("train")
    seconds, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
    after = psutil.Process().memory_full_info().uss
    reader, writer = multiprocessing.Pipe(duplex=False)
    worker = multiprocessing.get_context("fork").Process(target=_work, args=(dataset, writer))
    worker.start()
    own = reader.recv()
    worker.join()
    return {
        "samples": len(dataset),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "held_mb": round((after - before) / 1e6),
        "worker_own_mb": round(own / 1e6),
        "file_mb": round(Path(annotations).stat().st_size / 1e6),
    }


def _work(dataset: Any, writer: Any) -> None:
    before = psutil.Process().memory_full_info().uss
    for _ in itertools.islice(dataset.described(), _READ):
        pass
    writer.send(psutil.Process().memory_full_info().uss - before)


def _write(name: str, folder: Path, rows: int) -> Path:
    (folder / "images").mkdir(parents=True)
    pictures = max(1, rows // 10)
    draw = random.Random(0)
    for number in range(pictures):
        os.close(os.open(folder / f"images/{number:012d}.jpg", os.O_CREAT | os.O_WRONLY))
    questions = [" ".join(draw.choices(_WORDS, k=8)) + "?" for _ in range(10_000)]
    if name == "vivqa":
        path = folder / "train.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(["", "question", "answer", "img_id", "type"])
            for number in range(rows):
                question = questions[number % len(questions)]
                lines.writerow([number, question, "màu xanh lá", number % pictures, number % 4])
        return path
    path = folder / "train.json"
    entries = [
        {
            "image": f"{number % pictures:012d}.jpg",
            "question": questions[number % len(questions)],
            "question_id": number,
            "answer": draw.choices(_ANSWERS, k=10) if name == "coco_vqa" else "on the table",
        }
        for number in range(rows)
    ]
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


if __name__ == "__main__":
    sys.exit(run_cli(main))

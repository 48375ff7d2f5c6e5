"""Evaluate a model, score saved answers again, or compare evaluations.

python evaluate.py --cfg-path eval_configs/X.yaml [--dataset okvqa,refcoco] [--options k=v ...]
python evaluate.py rescore FILE... [--score constant]
python evaluate.py compare A B [...] [--out DIR]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from minigpt4.common.errors import run_cli
from minigpt4.common.eval_utils import add_fresh, add_resample, eval_parser


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the first word says; without one, evaluate."""
    words = list(sys.argv[1:] if argv is None else argv)
    command = {"rescore": rescore, "compare": compare}.get(words[0] if words else "")
    if command is None:
        evaluate(words)
    else:
        command(words[1:])


def evaluate(words: Sequence[str]) -> None:
    """Evaluate on entries of a configuration; end with a line for each."""
    parser = eval_parser()
    parser.description = "Evaluate; other commands: evaluate.py rescore, evaluate.py compare."
    parser.add_argument(
        "--dataset", type=_names, default=[], metavar="A,B", help="entries (default: all)"
    )
    parser.add_argument(
        "--split", type=_names, default=[], metavar="A,B", help="of entries with several splits"
    )
    parser.add_argument("--blank", action="store_true", help="blank every picture")
    parser.add_argument(
        "--baselines",
        action="store_true",
        help="also say what can be had without looking: pictures blanked, commonest answers",
    )
    add_resample(parser)
    add_fresh(parser)
    args = parser.parse_args(words)

    from minigpt4.common.config import Config
    from minigpt4.common.distributed import is_main
    from minigpt4.common.imports import import_model_libraries
    from minigpt4.common.logger import setup_logging

    setup_logging()
    cfg = Config(args)
    import_model_libraries()
    from minigpt4.tasks.eval_commands import evaluate_all

    results = evaluate_all(
        cfg,
        args.dataset,
        splits=args.split,
        resample=args.resample,
        blank=args.blank,
        baselines=args.baselines,
        fresh=args.fresh,
    )
    if is_main():
        sys.stdout.write("".join(f"{result.line()}\n" for result in results))


def rescore(words: Sequence[str]) -> None:
    """Score saved answers again, without the model."""
    from minigpt4.common.config_check import CHOICES
    from minigpt4.common.logger import setup_logging
    from minigpt4.common.settings import EvalDatasetSettings, RunSettings
    from minigpt4.tasks.rescore import rescore as rescore_file

    parser = argparse.ArgumentParser(
        prog="evaluate.py rescore", description="Score saved answers again, without the model."
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="*_predictions.jsonl")
    parser.add_argument("--score", choices=CHOICES[RunSettings]["score"])
    parser.add_argument("--metric", choices=CHOICES[EvalDatasetSettings]["metric"])
    parser.add_argument("--out", type=Path, help="folder (default: beside each file)")
    args = parser.parse_args(words)
    setup_logging()
    for path in args.files:
        result = rescore_file(path, score=args.score, metric=args.metric, out=args.out)
        sys.stdout.write(f"{result.line()}\n")


def compare(words: Sequence[str]) -> None:
    """Compare evaluations on the same data."""
    from minigpt4.common.logger import setup_logging
    from minigpt4.tasks.compare import compare as compare_runs
    from minigpt4.tasks.compare import render_text

    parser = argparse.ArgumentParser(
        prog="evaluate.py compare", description="Compare evaluations on the same data."
    )
    parser.add_argument("runs", nargs="+", type=Path, help="folders or *_predictions.jsonl")
    parser.add_argument("--out", type=Path, help="folder of the comparison's files")
    args = parser.parse_args(words)
    setup_logging()
    sys.stdout.write(f"{render_text(compare_runs(args.runs, out=args.out)).rstrip()}\n")


def _names(text: str) -> list[str]:
    return [name for each in text.split(",") if (name := each.strip())]


if __name__ == "__main__":
    sys.exit(run_cli(main))

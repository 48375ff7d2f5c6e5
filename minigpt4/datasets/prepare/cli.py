"""The command line of ``python -m minigpt4.datasets.prepare``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from minigpt4.common.logger import setup_logging


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and prepare one data set."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["tiny"]:
        from minigpt4.datasets.tiny.__main__ import main as make_tiny

        make_tiny(words[1:])
        return
    args = _parser().parse_args(words)
    setup_logging()
    args.run(args)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m minigpt4.datasets.prepare")
    commands = parser.add_subparsers(required=True, metavar="mvtec|vivqa|tiny")
    _add_mvtec(commands.add_parser("mvtec", help="pictures with masks -> MVTEC_det's JSON files"))
    _add_vivqa(commands.add_parser("vivqa", help="place and check ViVQA's CSVs and pictures"))
    commands.add_parser("tiny", help="make the embedded default's data", add_help=False)
    return parser


def _add_mvtec(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, help="folder of pictures and masks")
    parser.add_argument("--out", type=Path, default=Path("data/MVTEC_det"), help="folder to write")
    parser.add_argument("--val-share", type=float, default=0.2, help="share of validation")
    parser.add_argument("--seed", type=int, default=42, help="decides the split")
    parser.add_argument(
        "--boxes", choices=("one", "many"), default="one",
        help="one box around all of a picture's defect, or also one for each connected part",
    )  # fmt: skip
    parser.add_argument("--class-name", help="what the pictures of <defect>/Imgs folders show")
    parser.add_argument(
        "--images", choices=("link", "copy", "none"), default="link",
        help="how the pictures come to OUT/images (one link to ROOT, a copy, or not at all)",
    )  # fmt: skip
    parser.add_argument(
        "--number-gap", type=int,
        help="pictures whose names' last numbers are so near stay on one side of the split "
        "(default: 150 for <defect>/Imgs folders, else 0 = off)",
    )  # fmt: skip
    parser.add_argument(
        "--similarity", type=float,
        help="pictures whose fine structure correlates above this stay on one side of the split "
        "(default: 0.8 for <defect>/Imgs folders, else 0 = off)",
    )  # fmt: skip
    parser.set_defaults(run=_run_mvtec)


def _run_mvtec(args: argparse.Namespace) -> None:
    from minigpt4.datasets.prepare.mvtec import TRAIN, VAL, prepare_mvtec

    report = prepare_mvtec(
        args.root,
        args.out,
        val_share=args.val_share,
        seed=args.seed,
        boxes=args.boxes,
        class_name=args.class_name,
        place=args.images,
        number_gap=args.number_gap,
        similarity=args.similarity,
    )
    lines = [*report.lines(), f"written: {args.out / TRAIN}, {args.out / VAL}"]
    sys.stdout.write("\n".join(lines) + "\n")


def _add_vivqa(parser: argparse.ArgumentParser) -> None:
    from minigpt4.datasets.prepare.vivqa import CSV_SOURCE, IMAGE_SOURCE

    forms = "a folder, an archive, git+<url>, gdrive:<id>, hub:<owner>/<name>, a URL, or none"
    parser.add_argument("--csv", default=CSV_SOURCE, help=f"where the CSVs are: {forms}")
    parser.add_argument("--images", default=IMAGE_SOURCE, help="where the pictures are: likewise")
    parser.add_argument("--out", type=Path, default=Path("data/ViVQA"), help="folder to fill")
    parser.set_defaults(run=_run_vivqa)


def _run_vivqa(args: argparse.Namespace) -> None:
    from minigpt4.datasets.prepare.vivqa import prepare_vivqa

    csv, images = (None if each == "none" else each for each in (args.csv, args.images))
    report = prepare_vivqa(args.out, csv=csv, images=images)
    sys.stdout.write("\n".join([*report.lines(), f"ready in {args.out}"]) + "\n")

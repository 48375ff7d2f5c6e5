"""The command line of ``python -m minigpt4.datasets.prepare``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from minigpt4.common.logger import setup_logging

_SOURCES = "a folder, an archive, git+<url>, gdrive:<id>, hub:<owner>/<name> or a URL"


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
    parser = argparse.ArgumentParser(
        prog="python -m minigpt4.datasets.prepare",
        description="Get data and weights, and bring data into the form that training reads.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    adders: dict[str, tuple[Callable[[argparse.ArgumentParser], None], str]] = {
        "vivqa": (_add_vivqa, "get, place and check ViVQA's CSVs and pictures"),
        "mvtec": (_add_mvtec, "get MVTEC_det, or make it of pictures with masks (--root)"),
        "masks": (_add_masks, "pictures with masks -> MVTEC_det's JSON files"),
        "ckpt": (_add_ckpt, "get MiniGPT-v2's checkpoint of its third stage"),
        "eva": (_add_eva, "get the image encoder's weights"),
        "llama": (_add_llama, "get the language model with your token of the hub"),
        "coco": (_add_objects, "COCO's JSON -> the project's own, or back"),
        "voc": (_add_objects, "VOC's XML -> the project's own JSON, or back"),
        "yolo": (_add_objects, "YOLO's text files -> the project's own JSON, or back"),
        "llava": (_add_llava, "LLaVA's conversations -> rows of questions, or back"),
    }
    for name, (add, description) in adders.items():
        command = commands.add_parser(name, help=description, description=description)
        command.set_defaults(command=name)
        add(command)
    commands.add_parser("tiny", help="make the embedded default's data", add_help=False)
    return parser


def _print(lines: Iterable[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _add_mvtec(parser: argparse.ArgumentParser) -> None:
    from minigpt4.datasets.prepare.mvtec_det import SOURCE

    parser.add_argument("--root", type=Path, help="folder of pictures and masks; without: download")
    parser.add_argument(
        "--source", default=SOURCE, help=f"where MVTEC_det is, without --root: {_SOURCES}"
    )
    _add_mask_options(parser)
    parser.set_defaults(run=_run_mvtec)


def _add_masks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", type=Path, help="folder of pictures and masks")
    _add_mask_options(parser)
    parser.set_defaults(run=_run_masks)


def _add_mask_options(parser: argparse.ArgumentParser) -> None:
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


def _run_mvtec(args: argparse.Namespace) -> None:
    from minigpt4.datasets.prepare.mvtec_det import fetch_mvtec_det

    if args.root is not None:
        _run_masks(args)
        return
    report = fetch_mvtec_det(args.out, source=args.source)
    _print([*report.lines(), f"ready in {args.out}"])


def _run_masks(args: argparse.Namespace) -> None:
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
    _print([*report.lines(), f"written: {args.out / TRAIN}, {args.out / VAL}"])


def _add_vivqa(parser: argparse.ArgumentParser) -> None:
    from minigpt4.datasets.prepare.vivqa import CSV_SOURCE, IMAGE_SOURCE

    forms = f"{_SOURCES}, or none"
    parser.add_argument("--csv", default=CSV_SOURCE, help=f"where the CSVs are: {forms}")
    parser.add_argument("--images", default=IMAGE_SOURCE, help="where the pictures are: likewise")
    parser.add_argument("--out", type=Path, default=Path("data/ViVQA"), help="folder to fill")
    parser.set_defaults(run=_run_vivqa)


def _run_vivqa(args: argparse.Namespace) -> None:
    from minigpt4.datasets.prepare.vivqa import prepare_vivqa

    csv, images = (None if each == "none" else each for each in (args.csv, args.images))
    report = prepare_vivqa(args.out, csv=csv, images=images)
    _print([*report.lines(), f"ready in {args.out}"])


def _add_ckpt(parser: argparse.ArgumentParser) -> None:
    from minigpt4.datasets.prepare.weights import STAGE_3

    target = Path("ckpt/checkpoint_stage3.pth")
    parser.add_argument("--out", type=Path, default=target, help="file to write")
    parser.add_argument("--id", default=STAGE_3, help="its id at Google Drive")
    parser.add_argument("--sha256", help="what its checksum must be")
    parser.set_defaults(run=_run_ckpt)


def _run_ckpt(args: argparse.Namespace) -> None:
    from minigpt4.datasets.prepare.weights import fetch_checkpoint

    _print([fetch_checkpoint(args.out, drive_id=args.id, sha256=args.sha256)])


def _add_eva(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="another place of eva_vit_g.pth")
    parser.set_defaults(run=_run_eva)


def _run_eva(args: argparse.Namespace) -> None:
    from minigpt4.datasets.prepare.weights import fetch_encoder

    _print([fetch_encoder(args.url)])


def _add_llama(parser: argparse.ArgumentParser) -> None:
    from minigpt4.datasets.prepare.weights import LLAMA

    parser.add_argument("--model", default=LLAMA, help="its id on the hub")
    parser.add_argument("--out", type=Path, help="folder to fill (default: the hub's cache)")
    parser.set_defaults(run=_run_llama)


def _run_llama(args: argparse.Namespace) -> None:
    from minigpt4.datasets.prepare.weights import fetch_language_model

    _print([fetch_language_model(args.model, folder=args.out)])


def _add_objects(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="what to convert (with --back: the own JSON)")
    parser.add_argument(
        "--out", type=Path, required=True, help="file to write (voc and yolo --back: folder)"
    )
    parser.add_argument("--back", action="store_true", help="from the own JSON to this format")
    parser.add_argument("--images", type=Path, help="folder of the pictures")
    parser.add_argument("--split", default="train", help="of YOLO's data.yaml")
    parser.add_argument(
        "--boxes", choices=("pixels", "grid"), default="pixels",
        help="boxes of the own JSON: in pixels, or in whole hundredths as answers write them",
    )  # fmt: skip
    parser.set_defaults(run=_run_objects)


def _run_objects(args: argparse.Namespace) -> None:
    from minigpt4.datasets.prepare.annotated import read_annotations
    from minigpt4.datasets.prepare.writers import WRITERS, write_own

    reader = "auto" if args.back else args.command
    data = read_annotations(args.source, reader=reader, images=args.images, split=args.split)
    if args.back:
        written = WRITERS[args.command](data, args.out)
    else:
        written = write_own(data, args.out, grid=args.boxes == "grid")
    _print([*data.lines(), f"written: {', '.join(map(str, written))}"])


def _add_llava(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="conversations (with --back: rows of questions)")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--back", action="store_true", help="from rows to conversations")
    parser.set_defaults(run=_run_llava)


def _run_llava(args: argparse.Namespace) -> None:
    from minigpt4.datasets.prepare.llava import convert

    count = convert(args.source, args.out, back=args.back)
    what = "conversations" if args.back else "questions"
    _print([f"written: {count} {what} to {args.out}"])

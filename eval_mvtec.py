"""Evaluate on MVTec AD: ``python eval_mvtec.py --cfg-path eval_configs/X.yaml [--resample]``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from minigpt4.common.errors import run_cli
from minigpt4.common.eval_utils import add_fresh, add_resample, eval_parser


def main(argv: Sequence[str] | None = None) -> None:
    """Answer for every picture, write the files, and end with the strict mAP in per cent."""
    parser = eval_parser()
    add_resample(parser)
    add_fresh(parser)
    args = parser.parse_args(argv)

    from minigpt4.common.config import Config
    from minigpt4.common.imports import import_model_libraries
    from minigpt4.common.logger import setup_logging

    setup_logging()
    cfg = Config(args)
    import_model_libraries()
    from minigpt4.tasks.eval_commands import evaluate_one

    result = evaluate_one(
        cfg, name="mvtec_ad", kind="detection", resample=args.resample, fresh=args.fresh
    )
    if result.metrics:  # this is the main one of several processes
        sys.stdout.write(f"mAP: {result.metrics['map'] * 100:.2f}\n")


if __name__ == "__main__":
    sys.exit(run_cli(main))

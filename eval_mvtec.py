"""Evaluate on MVTec AD: ``python eval_mvtec.py --cfg-path eval_configs/X.yaml [--resample]``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from minigpt4.common.errors import run_cli
from minigpt4.common.eval_utils import eval_parser


def main(argv: Sequence[str] | None = None) -> None:
    """Answer for every picture, write the files, and end with the strict mAP in per cent."""
    parser = eval_parser()
    parser.add_argument(
        "--resample",
        action="store_true",
        help="ask again, with sampling, where an answer cannot be read (at most 20 times)",
    )
    args = parser.parse_args(argv)

    from minigpt4.common.config import Config
    from minigpt4.common.logger import setup_logging
    from minigpt4.tasks.eval_setup import find_entry
    from minigpt4.tasks.evaluate import evaluate

    setup_logging()
    cfg = Config(args)
    name = find_entry(cfg, name="mvtec_ad", kind="detection")
    result = evaluate(cfg, name, resample=args.resample)
    sys.stdout.write(f"mAP: {result.metrics['map'] * 100:.2f}\n")


if __name__ == "__main__":
    sys.exit(run_cli(main))

"""``python -m minigpt4.datasets.tiny --out data/tiny``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from minigpt4.common.errors import run_cli
from minigpt4.common.logger import setup_logging
from minigpt4.datasets.tiny.generate import PARTS, generate


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and make the data."""
    parser = argparse.ArgumentParser(prog="python -m minigpt4.datasets.tiny", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to fill, e.g. data/tiny")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="shrinks everything (tests)")
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=tuple(PARTS))
    args = parser.parse_args(argv)
    setup_logging()
    generate(args.out, seed=args.seed, scale=args.scale, parts=args.parts)


if __name__ == "__main__":
    sys.exit(run_cli(main))

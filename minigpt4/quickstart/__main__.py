"""``python -m minigpt4.quickstart``: from nothing to two fine-tuned, evaluated tasks on a CPU."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from minigpt4.common.errors import run_cli


def main(argv: Sequence[str] | None = None) -> None:
    """Run all stages and print the table of results."""
    parser = argparse.ArgumentParser(
        prog="make quickstart", description="Fine-tune and evaluate a small model on both tasks."
    )
    parser.add_argument("--out", type=Path, default=Path("quickstart"), help="folder of results")
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="share of data and iterations, for a faster look (default 1)",
    )
    args = parser.parse_args(argv)

    from minigpt4.common.imports import import_model_libraries
    from minigpt4.common.logger import setup_logging
    from minigpt4.quickstart.settings import QuickSettings

    setup_logging()
    settings = QuickSettings(out=args.out, scale=args.scale)
    begin = time.monotonic()
    logging.getLogger("minigpt4.quickstart").info("Loading PyTorch and transformers")
    import_model_libraries()
    from minigpt4.quickstart.stages import run_quickstart

    outcome = run_quickstart(settings, loading=time.monotonic() - begin)
    sys.stdout.write(f"\n{outcome.table()}\n\n")
    sys.stdout.write(f"{args.out / 'results.json'}  the numbers\n")
    sys.stdout.write(f"{args.out / 'report.html'}   pictures, answers and curves\n")


if __name__ == "__main__":
    sys.exit(run_cli(main))

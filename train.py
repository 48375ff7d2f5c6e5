"""Fine-tune a model: ``python train.py --cfg-path train_configs/X.yaml [--options k=v ...]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from minigpt4.common.errors import run_cli


def main(argv: Sequence[str] | None = None) -> None:
    """Train as a configuration file says."""
    parser = argparse.ArgumentParser(description="Fine-tune a vision-language model.")
    parser.add_argument("--cfg-path", required=True, help="configuration file (YAML)")
    parser.add_argument(
        "--options",
        nargs="+",
        metavar="KEY=VALUE",
        help="override settings, for instance run.max_epoch=1 model.ckpt=FILE",
    )
    args = parser.parse_args(argv)

    from minigpt4.common.config import Config
    from minigpt4.common.distributed import is_main
    from minigpt4.common.logger import setup_logging
    from minigpt4.runners import run_training

    setup_logging()
    result = run_training(Config(args))
    if is_main():
        sys.stdout.write(f"Checkpoints, log and curves: {result.output_dir}\n")


if __name__ == "__main__":
    sys.exit(run_cli(main))

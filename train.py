"""Fine-tune a model: ``python train.py --cfg-path train_configs/X.yaml [--options k=v ...]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

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
    parser.add_argument(
        "--plan",
        action="store_true",
        help="take some steps and say how long the run will be and what would help; train nothing",
    )
    parser.add_argument(
        "--estimate",
        action="store_true",
        help="with --plan: only estimate memory, from the configuration, without weights or a GPU",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="with --plan: write it here too")
    args = parser.parse_args(argv)
    if (args.estimate or args.json) and not args.plan:
        parser.error("--estimate and --json belong to --plan")

    from minigpt4.common.config import Config
    from minigpt4.common.distributed import is_main
    from minigpt4.common.imports import import_model_libraries
    from minigpt4.common.logger import setup_logging

    setup_logging()
    cfg = Config(args)
    import_model_libraries()
    from minigpt4.runners import run_training

    if args.plan:
        from minigpt4.runners.plan.command import plan_run

        text = plan_run(cfg, only_estimate=args.estimate, json=args.json)
        if is_main():
            sys.stdout.write(text + "\n")
        return
    result = run_training(cfg)
    if is_main():
        sys.stdout.write(f"Checkpoints, log and curves: {result.output_dir}\n")


if __name__ == "__main__":
    sys.exit(run_cli(main))

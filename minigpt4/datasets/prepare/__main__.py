"""``python -m minigpt4.datasets.prepare mvtec|vivqa|tiny ...``."""

import sys

from minigpt4.common.errors import run_cli
from minigpt4.datasets.prepare.cli import main

if __name__ == "__main__":
    sys.exit(run_cli(main))

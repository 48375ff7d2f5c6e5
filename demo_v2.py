"""Talk with a model in a browser: ``python demo_v2.py --cfg-path eval_configs/X.yaml``."""

from __future__ import annotations

import sys

from minigpt4.common.errors import run_cli
from minigpt4.serve.launch import main

if __name__ == "__main__":
    sys.exit(run_cli(main))

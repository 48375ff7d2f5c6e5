"""One subject of the benchmark in a process of its own: builds it, and times what it is asked.

python -m speed.subjects ours --sizes yardstick --precision fp32

Says how long building took and which actions there are; then reads what to do line by line, an
action, ``peak_rss_mb`` or (of ours) ``shares``. Each answer is one JSON line.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from speed.sizes import SIZES, Sizes
from speed.work import shares_of_rate, step_flops

BATCH = 4
NEW_TOKENS = 20
LEARNING_RATE = 1e-4


def main(argv: Sequence[str] | None = None) -> None:
    """Measure one subject."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subject", choices=("ours", "idefics3", "llava"))
    parser.add_argument("--sizes", choices=SIZES, default="yardstick")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(argv)
    logging.disable(logging.WARNING)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    sizes = SIZES[args.sizes]
    from speed import ours, peers

    module: Any = ours if args.subject == "ours" else peers
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        subject = module.build(args.subject, sizes, Path(folder))
    subject.narrow(args.precision)
    actions = subject.actions(mixed(args.precision))
    _say({"build_s": time.perf_counter() - begin, "actions": list(actions)})
    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
    for line in sys.stdin:
        what = line.strip()
        if what == "peak_rss_mb":
            _say(_peak_rss_mb())
        elif what == "shares":
            _say(
                {
                    name: shares_of_rate(actions[f"{name}_s"], operations, dtype)
                    for name, operations in step_flops(sizes, BATCH).items()
                }
            )
        else:
            _say(median_seconds(actions[what], args.repeats))


def _say(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _peak_rss_mb() -> float:
    # Linux gives kibibytes, macOS bytes.
    scale = 1024 if sys.platform != "darwin" else 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6


def mixed(precision: str) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    """What each step runs in."""
    if precision == "bf16":
        return lambda: torch.autocast("cpu", dtype=torch.bfloat16)
    return contextlib.nullcontext


def median_seconds(action: Callable[[], Any], repeats: int) -> float:
    """Median time of an action after one run that does not count."""
    action()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def pixels(sizes: Sizes, batch: int = BATCH) -> torch.Tensor:
    """Pictures (B, 3, S, S)."""
    return torch.randn(batch, 3, sizes.image_size, sizes.image_size)


def optimizer_of(model: torch.nn.Module) -> torch.optim.Optimizer:
    """AdamW over what trains, fused."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(trained, lr=LEARNING_RATE, fused=True)


if __name__ == "__main__":
    main()

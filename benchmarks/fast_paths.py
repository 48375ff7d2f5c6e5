"""What the own pass through the language model gains over transformers' pass, in pairs.

    python benchmarks/fast_paths.py [--pairs 7] [--json FILE]

Both passes run in turn in one process on one thread, and CPU time is counted, so that other work on
the machine changes little. Measured are a training step at the yardstick with cached features and
with sequences of mixed lengths, reading prompts, and training steps of the quick start (its data
must have been made: ``make quickstart-data``).
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import logging
import statistics
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE.parent), str(_HERE)]  # the project is run from its folder

import torch  # noqa: E402

from minigpt4.common.errors import run_cli  # noqa: E402

_BATCHES = 4
_PROMPTS = (240, 260, 280, 300)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print a line for each case, write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args(argv)
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    figures = {}
    for name, plain, fast in itertools.chain(yardstick(), quickstart()):
        figures[name] = compare(plain, fast, args.pairs)
        sys.stdout.write(f"{name}: {figures[name]}\n")
    if args.json is not None:
        from minigpt4.common.files import write_json

        write_json(args.json, figures)


def compare(plain: Callable[[], Any], fast: Callable[[], Any], pairs: int) -> dict[str, float]:
    """Median CPU seconds of both, the median of the pairs' ratios and its extremes."""
    seconds: list[tuple[float, float]] = []
    for _ in range(pairs + 1):
        taken = []
        for action in (plain, fast):
            begin = time.process_time()
            action()
            taken.append(time.process_time() - begin)
        seconds.append((taken[0], taken[1]))
    ratios = [a / b for a, b in seconds[1:]]  # the first pair warms up
    return {
        "plain_cpu_s": round(statistics.median(a for a, _ in seconds[1:]), 4),
        "fast_cpu_s": round(statistics.median(b for _, b in seconds[1:]), 4),
        "ratio": round(statistics.median(ratios), 2),
        "lowest": round(min(ratios), 2),
        "highest": round(max(ratios), 2),
    }


Case = tuple[str, Callable[[], Any], Callable[[], Any]]


def yardstick() -> Iterator[Case]:
    """Training and reading prompts at the benchmark's sizes."""
    from speed import ours
    from speed.sizes import SIZES
    from transformers import DynamicCache

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        subject = ours.build("ours", SIZES["yardstick"], Path(folder))
    model = subject.model
    actions = subject.actions(contextlib.nullcontext)
    for name in ("train_b4_cached_s", "train_mixed_s"):
        yield (f"yardstick {name}", *_both(model, actions[name]))

    width = max(_PROMPTS)
    embeds = torch.randn(len(_PROMPTS), width, subject.sizes.hidden) * 0.1
    mask = (torch.arange(width) >= width - torch.tensor(_PROMPTS)[:, None]).long()
    model.eval()

    @torch.no_grad()
    def plain() -> None:
        model.llama_model(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp_min(0),
            past_key_values=DynamicCache(config=model.llama_model.config),
            use_cache=True,
            logits_to_keep=1,
        )

    @torch.no_grad()
    def fast() -> None:
        model.decoder.read(embeds, mask, DynamicCache(config=model.llama_model.config), 1)

    yield "yardstick reading prompts", plain, fast


def quickstart() -> Iterator[Case]:
    """Training steps of the quick start, clipping and optimizer included."""
    import minigpt4.tasks  # noqa: F401
    from minigpt4.common.config import Config
    from minigpt4.common.optims import build_optimizer
    from minigpt4.common.registry import registry
    from minigpt4.runners.features import cache_features, fit_statistics

    for name in ("vivqa", "mvtec"):
        cfg = Config(Namespace(cfg_path=f"train_configs/tiny_{name}.yaml", options=None))
        run = cfg.run()
        task: Any = registry.get_task_class(run.task)()
        train = task.build_datasets(cfg, ["train"])
        model = task.build_model(cfg, torch.device("cpu"))
        cache_features(run, model, train)
        fit_statistics(model, train)
        batches = list(
            itertools.islice(task.training_data(run, train, []).train_batches(0, 0), _BATCHES)
        )
        optimizer = build_optimizer(model, run)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        model.train()
        yield (f"quick start {name}", *_both(model, _steps(model, batches, optimizer, parameters)))


def _steps(
    model: Any, batches: list[Any], optimizer: torch.optim.Optimizer, parameters: list[Any]
) -> Callable[[], None]:
    def steps() -> None:
        for batch in batches:
            model(batch)["loss"].backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return steps


def _both(model: Any, action: Callable[[], Any]) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """An action by transformers' pass, and by the own one."""
    decoder = model.decoder

    def by(chosen: Any) -> Callable[[], Any]:
        def run() -> None:
            model.decoder = chosen
            action()
            model.decoder = decoder

        return run

    return by(None), by(decoder)


if __name__ == "__main__":
    sys.exit(run_cli(main))

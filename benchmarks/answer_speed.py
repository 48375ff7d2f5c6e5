"""What makes answering faster, each measured against doing without it, in alternating runs.

``python benchmarks/answer_speed.py --json benchmarks/results/answer_speed.json``: LoRA merged or
not, and several questions about a picture with what they share read once or for each, at the sizes
of ``speed.sizes``. Times are CPU seconds of one thread, medians over the rounds; a ratio is the
median of the rounds' ratios, with the smallest and the largest.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

sys.path[:0] = [str(Path(__file__).parents[1])]  # run from its folder, not installed

from speed.ours import Ours, build  # noqa: E402
from speed.sizes import SIZES  # noqa: E402

QUESTIONS = (1, 2, 4, 8)
"""About each picture."""
PICTURES = 2
TOKENS = 5
"""Of each answer, as long as those to most questions are."""


@contextlib.contextmanager
def unmerged(model: Any) -> Iterator[None]:
    """Adapters beside the weights, whatever would pay."""
    from minigpt4.models import merging

    pays, merging._pays = merging._pays, lambda *_: False
    try:
        yield
    finally:
        merging._pays = pays


def cases(ours: Ours) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """By name, how it was and how it is."""
    model = ours.model
    with torch.inference_mode():
        generator = torch.Generator().manual_seed(0)
        side = ours.sizes.image_size
        pictures = torch.randn(PICTURES, 3, side, side, generator=generator)
        features = model.encode_image_features(pictures).clone()

    def prompts(count: int) -> list[str]:
        """Prompts that differ at their end."""
        asked = (f"{ours.instruction}{'a ' * (number % 4)}" for number in range(count))
        return [f"[INST] {each}[/INST]" for each in asked]

    def answer(count: int, tokens: int, *, shared: bool) -> None:
        which = [number // (count // PICTURES) for number in range(count)]
        given: dict[str, Any] = {"image_features": features[which]}
        if shared:
            given = {"image_features": features, "picture_of": which}
        with torch.inference_mode():
            model.generate_scored(
                texts=prompts(count), max_new_tokens=tokens, min_length=tokens + 1, **given
            )

    def apart(count: int, tokens: int) -> None:
        with unmerged(model):
            answer(count, tokens, shared=False)

    found: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        f"merging, 4 answers of {tokens} tokens": (
            lambda tokens=tokens: apart(4, tokens),
            lambda tokens=tokens: answer(4, tokens, shared=False),
        )
        for tokens in (TOKENS, 20)
    }
    for each in QUESTIONS:
        count = each * PICTURES
        found[f"sharing, {each} questions a picture"] = (
            lambda count=count: answer(count, TOKENS, shared=False),
            lambda count=count: answer(count, TOKENS, shared=True),
        )
    return found


def compare(
    before: Callable[[], Any], after: Callable[[], Any], *, rounds: int
) -> dict[str, float | list[float]]:
    """Seconds of both, in turn."""
    times: list[tuple[float, float]] = []
    for number in range(rounds + 1):
        pair = []
        for run in (before, after):
            begin = time.process_time()
            run()
            pair.append(time.process_time() - begin)
        if number:  # the first one warms up
            times.append((pair[0], pair[1]))
    ratios = [a / b for a, b in times]
    return {
        "before_s": round(statistics.median(a for a, _ in times), 4),
        "after_s": round(statistics.median(b for _, b in times), 4),
        "faster": round(statistics.median(ratios), 3),
        "from_to": [round(min(ratios), 3), round(max(ratios), 3)],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", choices=SIZES, default="yardstick")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        ours = build("minigpt", SIZES[args.sizes], Path(folder))
    ours.model.eval()
    results: dict[str, Any] = {"sizes": args.sizes, "rounds": args.rounds}
    for name, (before, after) in cases(ours).items():
        results[name] = compare(before, after, rounds=args.rounds)
        sys.stdout.write(f"{name:45} {json.dumps(results[name])}\n")
        sys.stdout.flush()
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

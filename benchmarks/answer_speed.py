"""What makes answering faster, each measured against doing without it, in alternating runs.

``python benchmarks/answer_speed.py --json benchmarks/results/speed/answers.json``: LoRA merged or
not, the own pass for single tokens or transformers', several questions about a picture with what
they share read once or for each, and long answers whose places others take or not, at the sizes of
``speed.sizes``. Times are CPU seconds of one thread, medians over the rounds; a ratio is the median
of the rounds' ratios, with the smallest and the largest.
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
from unittest import mock

import torch

sys.path[:0] = [str(Path(__file__).parents[1])]  # run from its folder, not installed

from speed.ours import Ours, build  # noqa: E402
from speed.sizes import SIZES  # noqa: E402

QUESTIONS = (1, 2, 4, 8)
"""About each picture."""
PICTURES = 2
TOKENS = 5
"""Of each answer, as long as those to most questions are."""


LONG = {"prompts": 32, "at_once": 8, "mean": 25, "longest": 100}
"""Answers that end by chance: how many, and of how many tokens."""


@contextlib.contextmanager
def by_transformers() -> Iterator[None]:
    """Single tokens through transformers' pass; prompts go through the own one all the same."""
    from minigpt4.models.decoder import Decoder

    takes = Decoder.takes
    longest = [0]

    def only_first(self: Decoder, length: int) -> bool:
        is_first, longest[0] = length <= longest[0] or not longest[0], length
        return is_first and takes(self, length)

    Decoder.takes = only_first  # type: ignore[method-assign]
    try:
        yield
    finally:
        Decoder.takes = takes  # type: ignore[method-assign]


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

    def one_by_one(count: int) -> None:
        with by_transformers():
            answer(count, 20, shared=False)

    found: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        f"merging, 4 answers of {tokens} tokens": (
            lambda tokens=tokens: apart(4, tokens),
            lambda tokens=tokens: answer(4, tokens, shared=False),
        )
        for tokens in (TOKENS, 20)
    }
    for count in (4, 16):
        found[f"single tokens, {count} answers of 20 tokens"] = (
            lambda count=count: one_by_one(count),
            lambda count=count: answer(count, 20, shared=False),
        )
    for each in QUESTIONS:
        count = each * PICTURES
        found[f"sharing, {each} questions a picture"] = (
            lambda count=count: answer(count, TOKENS, shared=False),
            lambda count=count: answer(count, TOKENS, shared=True),
        )
    found["taking places, long answers"] = long_answers(ours)
    return found


def long_answers(ours: Ours) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Answers that end by chance, the same ones batch after batch and following each other."""
    model = ours.model
    vocabulary = ours.sizes.vocabulary
    generator = torch.Generator().manual_seed(1)
    ends = torch.randperm(vocabulary, generator=generator)[: vocabulary // LONG["mean"]]
    count, at_once = LONG["prompts"], LONG["at_once"]
    tokens, width = ours.sizes.patches, ours.sizes.vision_width
    features = torch.randn(count, tokens, width, generator=generator)
    prompts = [f"[INST] {ours.instruction} {number}[/INST]" for number in range(count)]

    def answers(*, following: bool) -> None:
        parts = [(0, count)] if following else [(n, n + at_once) for n in range(0, count, at_once)]
        for begin, end in parts:
            model.generate_scored(
                texts=prompts[begin:end],
                image_features=features[begin:end],
                at_once=at_once,
                max_new_tokens=LONG["longest"],
                repetition_penalty=1.5,  # without it most go round in circles
            )

    def run(*, following: bool) -> None:
        with (
            torch.inference_mode(),
            mock.patch.object(type(model), "end_ids", frozenset(ends.tolist())),
        ):
            answers(following=following)

    return lambda: run(following=False), lambda: run(following=True)


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

"""Measure speed and memory against other classes of the same size, in one run.

    python benchmarks/bench.py --sizes yardstick --json FILE

Measured are a step's parts (encoder, training, generation) of every subject, whole runs of
``train.py``, and curves of cost, drawn beside the file of figures. Every subject runs in a process
of its own; each action is timed in all of them in turn, round after round, so that a machine whose
speed changes treats all alike. Quoted are medians over rounds, of ratios those of each round.
Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE.parent)]  # the project is run from its folder, not installed

import torch  # noqa: E402

from minigpt4.common.errors import ResourceError, run_cli  # noqa: E402

SUBJECTS = {"ours": "", "idefics3": "peer_", "llava": "llava_"}
"""What the names of each one's figures begin with."""
PARTS = ("steps", "runs", "curves")


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print a table, write the figures."""
    sys.path.insert(0, str(_HERE))
    from speed.sizes import SIZES

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", choices=SIZES, default="yardstick")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=5, help="turns of every action")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs in each turn")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        default="auto",
        help="auto: bf16 where a product of matrices is faster in it",
    )
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    figures = measure(args)
    sys.stdout.write(table(figures) + "\n")
    if args.json is not None:
        from minigpt4.common.files import write_json

        write_json(args.json, figures)
        if "curves" in figures:
            from speed.curves import plot

            title = f"{args.sizes} sizes, {figures['precision']}, {figures['machine']}"
            plot(figures["curves"], args.json.with_suffix(".png"), title)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All figures of a run; seconds are medians over rounds."""
    from speed.work import gemm_gflops

    rates = {"fp32": gemm_gflops(torch.float32), "bf16": gemm_gflops(torch.bfloat16)}
    precision = args.precision
    if precision == "auto":
        precision = max(rates, key=lambda name: rates[name])
    figures: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "machine": f"{_processor()}, {args.threads} thread(s)",
        "torch": torch.__version__,
        "sizes": args.sizes,
        "precision": precision,
        "rounds": args.rounds,
        "gemm_fp32_gflops": round(rates["fp32"], 1),
        "gemm_bf16_gflops": round(rates["bf16"], 1),
    }
    if "steps" in args.parts:
        figures |= _steps(args, precision)
    if "runs" in args.parts:
        figures |= _runs(args)
    if "curves" in args.parts:
        figures["curves"] = _child("speed.curves", [], precision, args)
    return figures


def _steps(args: argparse.Namespace, precision: str) -> dict[str, Any]:
    """Figures of all subjects, and the share of the rate of products that ours reach."""
    from speed.sizes import SIZES
    from speed.subjects import BATCH
    from speed.turns import Running, median_ratio, time_in_turn
    from speed.work import step_flops

    figures: dict[str, Any] = {}
    shares: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        subjects = []
        for name in args.subjects:
            command = _command("speed.subjects", [name], precision, args)
            subject = Running(name, command, _environment(args))
            stack.callback(subject.close)
            subjects.append(subject)
        rounds = time_in_turn(subjects, args.rounds)
        for subject in subjects:
            prefix = SUBJECTS[subject.name]
            figures[f"{prefix}build_s"] = round(subject.build_s, 4)
            for action in subject.actions:
                seconds = [each[subject.name, action] for each in rounds]
                figures[prefix + action] = round(statistics.median(seconds), 4)
            figures[f"{prefix}peak_rss_mb"] = round(subject.ask("peak_rss_mb"), 1)
            if subject.name == "ours":
                shares = subject.ask("shares")
    if "ours" not in args.subjects:
        return figures
    peers = [name for name in args.subjects if name != "ours"]
    for name, action, kind in itertools.product(
        peers, ("train_b4", "generate_b4x20"), ("", "_cached")
    ):
        ours = "ours", f"{action}{kind}_s"
        ratio = median_ratio(rounds, (name, f"{action}_s"), ours)
        figures[f"{SUBJECTS[name]}over_{action}{kind}"] = ratio
    mixed = ("ours", "train_mixed_s"), ("ours", "train_even_s")
    figures["mixed_over_even"] = median_ratio(rounds, *mixed)
    for key, operations in step_flops(SIZES[args.sizes], BATCH).items():
        name = key.replace(f"_b{BATCH}", "")
        pairs = sorted(shares[key])
        figures[f"gflop_{name}"] = round(operations / 1e9, 1)
        figures[f"mfu_{name}"] = round(statistics.median(share for _, share in pairs), 3)
        figures[f"mfu_{name}_by_rate"] = _thirds(pairs)
    return figures


def _thirds(pairs: list[tuple[float, float]]) -> list[dict[str, float]]:
    """The middle of the runs beside which products were slowest, middling and fastest."""
    ends = [round(len(pairs) * n / 3) for n in range(4)]
    found = []
    for begin, end in itertools.pairwise(ends):
        rates, shares = zip(*pairs[begin:end], strict=True)
        middle = {"gflops": round(statistics.median(rates)), "mfu": statistics.median(shares)}
        found.append({name: round(value, 3) for name, value in middle.items()})
    return found


def _runs(args: argparse.Namespace) -> dict[str, float]:
    """Figures of whole runs at the sizes, and of the quick start's."""
    from speed.runs import made_up_runs, quickstart_runs
    from speed.sizes import SIZES

    with tempfile.TemporaryDirectory() as folder:
        found = made_up_runs(SIZES[args.sizes], Path(folder), threads=args.threads)
    with tempfile.TemporaryDirectory() as folder:
        found |= quickstart_runs(Path(folder), threads=args.threads)
    return {name: round(value, 3) for name, value in found.items()}


def _child(
    module: str, subject: list[str], precision: str, args: argparse.Namespace
) -> dict[str, Any]:
    """What a module of the benchmark prints in a process of its own."""
    command = _command(module, subject, precision, args)
    done = subprocess.run(command, env=_environment(args), capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1]
        raise ResourceError(f"measuring {' '.join([module, *subject])} failed: {last}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _command(
    module: str, subject: list[str], precision: str, args: argparse.Namespace
) -> list[str]:
    command = [sys.executable, "-W", "ignore", "-m", module, *subject]
    command += ["--sizes", args.sizes, "--precision", precision]
    return [*command, "--repeats", str(args.repeats), "--threads", str(args.threads)]


def _environment(args: argparse.Namespace) -> dict[str, str]:
    path = os.pathsep.join([str(_HERE), str(_HERE.parent), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(args.threads)}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def table(figures: dict[str, Any]) -> str:
    """The figures as text, the peers' beside ours with the ratio."""
    lines = [
        f"{figures['sizes']} sizes, {figures['precision']}, {figures['machine']}; products of "
        f"2048-cube matrices: {figures['gemm_fp32_gflops']:.0f} GFLOP/s in fp32, "
        f"{figures['gemm_bf16_gflops']:.0f} in bf16"
    ]
    peers = [p for p in ("peer_", "llava_") if f"{p}train_b4_s" in figures]
    header = ["", "ours", *("Idefics3" if p == "peer_" else "LLaVA" for p in peers)]
    lines.append("".join(f"{cell:>34}" for cell in header))
    others = ("peer_", "llava_")
    for key, value in figures.items():
        if not key.endswith(("_s", "_mb")) or key.startswith(others):
            continue
        cells = [key, f"{value:.3f}" if key.endswith("_s") else f"{value:.0f}"]
        for prefix in peers:
            other = figures.get(prefix + key)
            times = figures.get(f"{prefix}over_{key.removesuffix('_s')}")
            if other is not None and times is None:
                times = other / value
            cell = "" if other is None else f"{other:.3f} "
            cells.append(cell + ("" if times is None else f"({times:.2f}x)"))
        lines.append("".join(f"{cell:>34}" for cell in cells))
    for key, value in figures.items():
        if key.startswith("mfu_") and isinstance(value, list):
            cells = "".join(f"{each['mfu']:>8.2f} at {each['gflops']} GFLOP/s" for each in value)
            lines.append(f"{key:>34}{cells}")
        elif key.startswith("mfu_") or key.endswith("_per_second") or key == "mixed_over_even":
            lines.append(f"{key:>34}{value:>18.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_cli(main))

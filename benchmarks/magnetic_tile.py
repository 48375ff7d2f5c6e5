"""Fine-tune the quick start's model on real photographs of magnetic tiles, and evaluate it.

    python benchmarks/magnetic_tile.py --root DIR

``DIR`` holds ``MT_*/Imgs`` of the public "magnetic tile surface defects" data (photographs as jpg,
masks as png of the same name). Run ``make quickstart`` before: its fine-tuned model is where this
begins. Results and three pictures go to ``benchmarks/results/magnetic_tile``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# The project is run from its folder, not installed.
sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from minigpt4.common.errors import DataError, WeightsError, run_cli  # noqa: E402

START = Path("quickstart/mvtec.pth")
DATA = Path("data/magnetic_tile")
RESULTS = Path("benchmarks/results/magnetic_tile")
WORK = Path("eval_outputs/magnetic_tile")
ITERATIONS = 600
EPOCHS = 3
LEARNING_RATE = "3e-3"
SHOWN = 3


def main(argv: Sequence[str] | None = None) -> None:
    """Prepare, evaluate before, fine-tune, evaluate after, write down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of MT_*/Imgs")
    args = parser.parse_args(argv)
    if not any(args.root.glob("MT_*/Imgs")):
        raise DataError(f"{args.root} holds no MT_*/Imgs: name the folder of the data (--root).")
    if not START.is_file():
        raise WeightsError(f"{START} is missing: run `make quickstart` first.")

    from minigpt4.common.logger import setup_logging
    from minigpt4.datasets.prepare.cli import main as prepare
    from minigpt4.runners import run_training
    from minigpt4.tasks.evaluate import evaluate

    setup_logging()
    prepare(
        ["mvtec", f"--root={args.root}", f"--out={DATA}", "--val-share=0.25", "--class-name=tile"]
    )
    before = evaluate(
        _eval_config(START), "mvtec_ad", save_path=WORK / "before", report=False, fresh=True
    )
    begin = time.monotonic()
    run = run_training(_train_config())
    seconds = time.monotonic() - begin
    assert run.last_checkpoint is not None
    after = evaluate(
        _eval_config(run.last_checkpoint), "mvtec_ad", save_path=WORK / "after", fresh=True
    )
    _write(before.metrics, after.metrics, seconds)
    _draw(after.predictions)


def _train_config() -> Any:
    info = "datasets.mvtec_ad.build_info"
    return _config(
        "train_configs/tiny_mvtec.yaml",
        f"{info}.ann_path={DATA}/train_data.json",
        f"{info}.image_path={DATA}/images",
        f"model.ckpt={START}",
        f"run.iters_per_epoch={ITERATIONS // EPOCHS}",
        f"run.max_epoch={EPOCHS}",
        f"run.init_lr={LEARNING_RATE}",
        "run.output_dir=outputs/magnetic_tile",
    )


def _eval_config(checkpoint: Path) -> Any:
    entry = "evaluation_datasets.mvtec_ad"
    return _config(
        "eval_configs/tiny_mvtec.yaml",
        f"{entry}.eval_file_path={DATA}/val_data.json",
        f"{entry}.img_path={DATA}/images",
        f"model.ckpt={checkpoint}",
    )


def _config(path: str, *options: str) -> Any:
    from minigpt4.common.config import Config

    return Config(argparse.Namespace(cfg_path=path, options=list(options)))


def _write(before: dict[str, Any], after: dict[str, Any], seconds: float) -> None:
    keep = ("map", "map_50", "ap_defect", "ap_not_defect", "auroc", "f1", "mean_iou_defect")
    content = {
        "before": {key: before[key] for key in (*keep, "unparsed", "count", "intervals")},
        "after": {key: after[key] for key in (*keep, "unparsed", "count", "intervals")},
        "by_defect": after["by_defect"],
        "train_seconds": round(seconds, 1),
    }
    text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "results.json").write_text(text, encoding="utf-8")


def _draw(predictions: Sequence[Any]) -> None:
    """The first defects of different kinds that the model called defects, right or wrong."""
    from minigpt4.processors.image import load_image
    from minigpt4.serve.drawing import draw_boxes

    seen: set[str] = set()
    for each in predictions:
        kind = each.meta["defect"]
        if "not-defect" in each.answer or kind in seen or kind == "good":
            continue
        seen.add(kind)
        truth = "<p>true</p>{" + "".join(f"<{v}>" for v in each.meta["bbox"]) + "}"
        picture = draw_boxes(load_image(each.image_path), each.answer + truth)
        if picture is not None:
            picture.save(RESULTS / f"{len(seen)}_{kind}.jpg", quality=88)
        if len(seen) == SHOWN:
            return


if __name__ == "__main__":
    sys.exit(run_cli(main))

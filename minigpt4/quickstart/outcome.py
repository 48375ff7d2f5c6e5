"""What a quick start found: ``results.json`` and the table at its end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minigpt4.common.metrics import percent
from minigpt4.quickstart.settings import MVTEC, VIVQA
from minigpt4.scoring.detection import score_detection
from minigpt4.scoring.prediction import Prediction
from minigpt4.tasks.baselines import commonest_label_and_box, constant_detection
from minigpt4.tasks.evaluate import EvalResult


@dataclass(slots=True, kw_only=True)
class Outcome:
    """Evaluations of a quick start.

    Attributes:
        pretrained: By task key, before fine-tuning.
        finetuned: By task key, after it.
        blank: Questions answered with every picture blanked, after fine-tuning.
        constant_box: mAP of always giving the commonest training answer.
        curves: By task key, iterations and losses of fine-tuning.
        stages: Seconds by stage, in order.
        scale: Share of data and iterations.
    """

    pretrained: dict[str, EvalResult] = field(default_factory=dict)
    finetuned: dict[str, EvalResult] = field(default_factory=dict)
    blank: EvalResult | None = None
    constant_box: float = 0.0
    curves: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=dict)
    scale: float = 1.0

    def results(self) -> dict[str, Any]:
        """The content of ``results.json``: shares between 0 and 1, and seconds."""
        vqa, mvtec = self.finetuned[VIVQA.key].metrics, self.finetuned[MVTEC.key].metrics
        assert self.blank is not None
        return {
            VIVQA.key: {
                "pretrained": self.pretrained[VIVQA.key].metrics["accuracy"],
                "finetuned": vqa["accuracy"],
                "blank": self.blank.metrics["accuracy"],
                "by_type": {name: each["accuracy"] for name, each in vqa["by_type"].items()},
                "easy_vqa": vqa["by_source"]["easy_vqa"]["accuracy"],
                "count": vqa["count"],
            },
            MVTEC.key: {
                "pretrained": self.pretrained[MVTEC.key].metrics["map"],
                "finetuned": mvtec["map"],
                "constant_box": self.constant_box,
                "ap_defect": mvtec["ap_defect"],
                "ap_not_defect": mvtec["ap_not_defect"],
                "ap_50_defect": mvtec["by_label"]["defect"]["ap_50"],
                "mean_iou_defect": mvtec["mean_iou_defect"],
                "auroc": mvtec["auroc"],
                "unparsed": mvtec["unparsed"],
                "count": mvtec["count"],
            },
            "seconds": round(sum(self.stages.values()), 1),
            "stages": {name: round(seconds, 1) for name, seconds in self.stages.items()},
            "scale": self.scale,
        }

    def rows(self) -> list[tuple[str, float, float, str]]:
        """Task and metric, before, after, and what to compare it to."""
        results = self.results()
        vqa, mvtec = results[VIVQA.key], results[MVTEC.key]
        return [
            (
                "ViVQA-mini, accuracy",
                vqa["pretrained"],
                vqa["finetuned"],
                f"{percent(vqa['blank'])} with blanked pictures",
            ),
            (
                "MVTec-mini, mAP",
                mvtec["pretrained"],
                mvtec["finetuned"],
                f"{percent(mvtec['constant_box'])} by always giving the commonest answer",
            ),
        ]

    def table(self) -> str:
        """The rows as text."""
        lines = [f"{'':22}{'pre-trained':>12}{'fine-tuned':>12}"]
        for name, before, after, beside in self.rows():
            lines.append(f"{name:22}{percent(before):>12}{percent(after):>12}   ({beside})")
        mvtec = self.results()[MVTEC.key]
        lines.append(
            f"{'':22}AP of defect {percent(mvtec['ap_defect'])}, of not-defect "
            f"{percent(mvtec['ap_not_defect'])}; image AUROC {percent(mvtec['auroc'])}"
        )
        return "\n".join(lines)


def constant_answer_map(predictions: Sequence[Prediction], train_annotations: Path) -> float:
    """The strict mAP of giving the commonest training answer (label and box) to every picture.

    Args:
        predictions: Of the test pictures; only their ground truth is used.
        train_annotations: JSON list of the contract's form.
    """
    rows = json.loads(train_annotations.read_text(encoding="utf-8"))
    constant = constant_detection(predictions, *commonest_label_and_box(rows))
    return float(score_detection(constant, score="constant")["map"])

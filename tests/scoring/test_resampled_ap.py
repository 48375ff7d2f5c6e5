import time

import numpy as np
import pytest
import torch

from minigpt4.scoring.coco import Detections, coco_evaluate
from minigpt4.scoring.intervals import Bootstrap
from minigpt4.scoring.resampled_ap import label_precision, map_statistics

NAMES = {0: "ap_not_defect", 1: "ap_defect"}


def made_up(pictures, *, seed=0, labels=2, levels=None, most=3):
    """Pictures with up to ``most`` true boxes, found ones near them, missed, or made up."""
    random = np.random.default_rng(seed)
    predicted, true = [], []
    for _ in range(pictures):
        count = random.integers(0, most + 1)
        corner = random.integers(0, 60, (count, 2))
        boxes = np.concatenate([corner, corner + random.integers(5, 40, (count, 2))], axis=1)
        label = random.integers(0, labels, count)
        near = boxes + random.normal(0, 1, boxes.shape)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        kept = random.random(count) < 0.8
        extra = random.integers(0, most)
        corner = random.uniform(0, 60, (extra, 2))
        alarms = np.concatenate([corner, corner + random.uniform(5, 40, (extra, 2))], axis=1)
        scores = random.random(kept.sum() + extra) * ([1.0] * kept.sum() + [0.6] * extra)
        if levels:  # one score a picture, shared with other pictures
            scores[:] = random.integers(1, levels + 1) / levels
        predicted.append(
            Detections(
                [*near[kept].tolist(), *alarms.tolist()],
                [*label[kept].tolist(), *random.integers(0, labels, extra).tolist()],
                scores.tolist(),
            )
        )
        true.append(Detections(boxes.tolist(), label.tolist()))
    return predicted, true


def plain(detections):
    return {
        "boxes": torch.tensor(detections.boxes).reshape(-1, 4).double(),
        "labels": torch.tensor(detections.labels, dtype=torch.long),
        "scores": torch.tensor(detections.scores).double(),
    }


def test_counting_every_picture_once_is_pycocotools_own():
    for levels in (None, 3):
        result = coco_evaluate(*made_up(120, labels=3, levels=levels))
        expected = result.precision[:, :, :, 0, 2].mean(axis=1).T  # (labels, 10)
        for matches, row in zip(result.matches, expected, strict=True):
            got = label_precision(matches, np.ones((1, 120)))
            np.testing.assert_allclose(got[0], row, rtol=0, atol=1e-12)


@pytest.mark.parametrize("single", [False, True], ids=["own-scores", "shared-scores"])
def test_a_picture_that_counts_twice_is_a_picture_copied(single):
    predicted, true = made_up(60, seed=1)
    if single:  # one box a picture and few scores: ties between pictures and between copies
        scores = np.random.default_rng(2).integers(1, 4, 60) / 3
        predicted = [
            Detections(each.boxes[:1], each.labels[:1], [float(score)][: len(each.boxes)])
            for each, score in zip(predicted, scores, strict=True)
        ]
    result = coco_evaluate(predicted, true)
    for seed in range(5):
        counts = np.random.default_rng(seed).multinomial(60, np.full(60, 1 / 60))
        rows = np.repeat(np.arange(60), counts)
        copied = coco_evaluate([predicted[i] for i in rows], [true[i] for i in rows]).summarize()
        got = map_statistics(result, counts[None].astype(float), names=NAMES)
        assert got["map"][0] == pytest.approx(copied.map, abs=1e-12)
        assert got["map_50"][0] == pytest.approx(copied.map_50, abs=1e-12)
        assert got["map_75"][0] == pytest.approx(copied.map_75, abs=1e-12)
        assert got["ap_defect"][0] == pytest.approx(copied.per_label[1].ap, abs=1e-12)


def test_a_label_that_was_not_drawn_is_left_out_of_the_mean():
    box = (10, 10, 50, 50)
    found = [Detections([box], [0], [0.9]), Detections([(0, 0, 5, 5)], [1], [0.8])]
    result = coco_evaluate(found, [Detections([box], [0]), Detections([box], [1])])
    got = map_statistics(result, np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 0.0]]), names=NAMES)
    np.testing.assert_allclose(got["map"], [0.5, 1.0, np.nan])
    np.testing.assert_allclose(got["ap_defect"], [0.0, np.nan, np.nan])


def test_a_thousand_resamples_of_a_thousand_pictures_take_seconds():
    result = coco_evaluate(*made_up(1000, seed=3))
    start = time.perf_counter()
    found = Bootstrap(range(1000)).intervals(
        lambda weights: map_statistics(result, weights, names=NAMES)
    )
    assert time.perf_counter() - start < 20
    whole = result.summarize()
    assert found["map"][0] < whole.map < found["map"][1]
    assert 0.02 < found["map"][1] - found["map"][0] < 0.08


def test_ten_thousand_detections_agree_with_pycocotools_and_torchmetrics():
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
    from torchmetrics.detection import MeanAveragePrecision

    predicted, true = made_up(1000, seed=4, most=12)
    assert sum(len(each.boxes) for each in predicted) >= 10_000
    ours = coco_evaluate(predicted, true).summarize()

    def dataset(pictures):
        rows = [
            {"image_id": image, "category_id": label, "bbox": [x1, y1, x2 - x1, y2 - y1],
             "area": (x2 - x1) * (y2 - y1), "iscrowd": 0, "score": score}
            for image, each in enumerate(pictures)
            for (x1, y1, x2, y2), label, score in zip(
                each.boxes, each.labels, each.scores or [1.0] * len(each.boxes), strict=True
            )
        ]  # fmt: skip
        made = COCO()
        made.dataset = {
            "images": [{"id": image} for image in range(len(pictures))],
            "categories": [{"id": 0}, {"id": 1}],
            "annotations": [{"id": i, **row} for i, row in enumerate(rows, start=1)],
        }
        made.createIndex()
        return made

    evaluation = COCOeval(dataset(true), dataset(predicted), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    figures = [ours.map, ours.map_50, ours.map_75]
    assert figures == pytest.approx(evaluation.stats[:3].tolist(), abs=1e-9)
    metric = MeanAveragePrecision()
    metric.update([plain(each) for each in predicted], [plain(each) for each in true])
    theirs = metric.compute()
    assert figures == pytest.approx(
        [theirs[key].item() for key in ("map", "map_50", "map_75")], abs=1e-6
    )

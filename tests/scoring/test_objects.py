"""Objects of any classes, worked out by hand and against torchmetrics."""

import math
import random

import numpy as np
import pytest
import torch
from torchmetrics.detection import MeanAveragePrecision

from minigpt4.common.boxes import labelled
from minigpt4.scoring.kinds import ScoreOptions, get_kind
from minigpt4.scoring.object_answers import object_spans, parse_objects
from minigpt4.scoring.objects import score_objects
from minigpt4.scoring.prediction import Prediction


def picture(name, answer, *objects, asked=("cat", "dog"), **probabilities):
    """A prediction about a picture that holds some objects: (class, box) each."""
    return Prediction(
        id=name,
        answer=answer,
        finished=True,
        probability=1.0,
        probabilities=probabilities,
        picture=name,
        meta={
            "image_path": name,
            "classes": [kind for kind, _ in objects],
            "boxes": [list(box) for _, box in objects],
            "asked": list(asked),
            "empty_answer": "none",
        },
    )


CAT, DOG = (10, 10, 50, 50), (60, 20, 90, 80)


class TestAnswers:
    def test_boxes_belong_to_the_name_before_them(self):
        text = "<p>cat</p>{<1><2><3><4>}<delim>{<5><5><5><9>} <p>dog</p>{<6><7><8><9>}"
        found = parse_objects(text)
        assert [(each.name, each.box) for each in found] == [
            ("cat", (1, 2, 3, 4)), ("dog", (6, 7, 8, 9))
        ]  # fmt: skip
        spans = object_spans(text)
        assert [text[slice(*spans[f"label_{each.phrase}"])] for each in found] == ["cat", "dog"]
        assert text[slice(*spans["box_1"])] == "<6><7><8><9>"

    def test_boxes_without_a_name_are_what_was_asked_for(self):
        assert parse_objects("{<1><2><3><4>}", asked=["cat"])[0].name == "cat"
        assert parse_objects("{<1><2><3><4>}", asked=["cat", "dog"])[0].name == ""

    @pytest.mark.parametrize(
        ("answer", "readable", "right"),
        [
            (labelled("Cat", [CAT]) + " " + labelled("dog", [DOG]), True, True),
            (labelled("dog", [DOG]) + labelled("cat", [(12, 10, 50, 50)]), True, True),
            (labelled("cat", [CAT]), True, False),
            (labelled("cat", [CAT, CAT]) + labelled("dog", [DOG]), True, False),
            (labelled("dog", [CAT]) + labelled("cat", [DOG]), True, False),
            ("None", True, False),
            ("a cat and a dog", False, False),
            ("<p>cat</p>", False, False),
        ],
    )
    def test_what_is_right(self, answer, readable, right):
        kind = get_kind("objects")
        each = picture("a", answer, ("cat", CAT), ("dog", DOG))
        assert kind.can_read(each) == readable
        assert kind.is_right(each) == right

    def test_an_empty_picture_is_right_when_called_so(self):
        kind = get_kind("objects")
        assert kind.is_right(picture("a", "none"))
        assert not kind.is_right(picture("a", labelled("cat", [CAT])))
        assert not kind.is_right(picture("a", "I do not know"))


class TestFigures:
    def test_worked_out_by_hand(self):
        predictions = [
            # The cat exactly; the dog not at all; a cat too many, less sure.
            picture("a", labelled("cat", [CAT, (0, 60, 20, 90)]), ("cat", CAT), ("dog", DOG),
                    label_0=0.9, box_1=0.5**4),
            picture("b", labelled("cat", [(10, 10, 50, 90)]), ("cat", CAT), box_0=0.4**4),
            picture("c", "none"),
            picture("d", labelled("bird", [CAT])),
            picture("e", "?", ("dog", DOG)),
        ]  # fmt: skip
        found = score_objects(predictions)
        # Cats by score: right (0.9), wrong (0.45), IoU 0.5 exactly (0.4): COCO counts it from 0.50.
        recall = sum(i / 100 <= 0.5 for i in range(101))
        ap_50 = (recall * 1.0 + (101 - recall) * 2 / 3) / 101
        others = recall / 101  # at higher thresholds only the first is right
        cat = found["by_class"]["cat"]
        assert cat["ap_50"] == pytest.approx(ap_50)
        assert cat["ap"] == pytest.approx((ap_50 + 9 * others) / 10)
        assert found["by_class"]["dog"]["ap"] == 0
        assert found["map"] == pytest.approx(cat["ap"] / 2)
        # 4 boxes found, 2 of 4 objects among them.
        assert (found["precision_50"], found["recall_50"], found["f1_50"]) == (0.5, 0.5, 0.5)
        assert found["mean_iou"] == pytest.approx((1 + 0 + 0.5 + 0) / 4)
        assert found["unknown"] == {"count": 1, "names": {"bird": 1}}
        assert found["empty"] == {"count": 2, "said_empty": 1}
        assert (found["unparsed"], found["count"], found["objects"]) == (1, 5, 4)
        assert found["grid_ceiling"] == 1.0

    def test_against_torchmetrics(self):
        draw = random.Random(3)
        names, predictions, theirs, true = ["cat", "dog", "cow"], [], [], []
        for number in range(40):
            objects = []
            for _ in range(draw.randrange(4)):
                # Quarters, which both number formats hold exactly.
                x, y = draw.randrange(240) / 4, draw.randrange(240) / 4
                box = (x, y, x + draw.randrange(20, 160) / 4, y + draw.randrange(20, 160) / 4)
                objects.append((draw.choice(names), box))
            parts, boxes, labels, scores, given = [], [], [], [], {}
            for name, box in objects:
                moved = [round(min(100, max(0, edge + draw.uniform(-6, 6)))) for edge in box]
                said = name if draw.random() < 0.8 else draw.choice(names)
                if moved[0] >= moved[2] or moved[1] >= moved[3]:
                    continue
                given[f"box_{len(boxes)}"] = draw.random() ** 4
                scores.append(given[f"box_{len(boxes)}"] ** 0.25)
                parts.append(labelled(said, [moved]))
                boxes.append(moved)
                labels.append(names.index(said))
            predictions.append(picture(str(number), " ".join(parts) or "none", *objects, **given))
            theirs.append({"boxes": torch.tensor(boxes, dtype=torch.float).reshape(-1, 4),
                           "labels": torch.tensor(labels, dtype=torch.long),
                           "scores": torch.tensor(scores)})  # fmt: skip
            true.append({"boxes": torch.tensor([b for _, b in objects]).reshape(-1, 4),
                         "labels": torch.tensor([names.index(n) for n, _ in objects],
                                                dtype=torch.long)})  # fmt: skip
        metric = MeanAveragePrecision(  # its own thresholds are rounded to 32 bits
            class_metrics=True,
            iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(),
            rec_thresholds=np.linspace(0, 1, 101).tolist(),
        )
        metric.update(theirs, true)
        expected = metric.compute()
        found = score_objects(predictions)
        for name in ("map", "map_50", "map_75"):
            assert found[name] == pytest.approx(expected[name].item(), abs=1e-5)
        for name, value in zip(names, expected["map_per_class"].tolist(), strict=True):
            assert found["by_class"][name]["ap"] == pytest.approx(value, abs=1e-5)
        assert 0.9 < found["grid_ceiling"] < 1

    def test_a_sample_for_each_category_is_joined_by_picture(self):
        both = score_objects(
            [picture("a", labelled("cat", [CAT]) + labelled("dog", [DOG]), ("cat", CAT),
                     ("dog", DOG))]
        )  # fmt: skip
        apart = score_objects(
            [
                picture("a", "{<10><10><50><50>}", ("cat", CAT), asked=["cat"]),
                picture("a", labelled("dog", [DOG]), ("dog", DOG), asked=["dog"]),
            ]
        )
        assert both["map"] == apart["map"] == pytest.approx(1)
        assert both["count"] == apart["count"] == 1

    def test_intervals_hold_the_figure_and_need_resamples(self):
        predictions = [
            picture(str(i), labelled("cat", [CAT if i % 3 else DOG]), ("cat", CAT))
            for i in range(30)
        ]
        found = score_objects(predictions, resamples=100)
        for name in ("map", "map_50", "precision_50", "recall_50", "f1_50"):
            low, high = found["intervals"][name]
            assert low < found[name] < high
        low, high = found["by_class"]["cat"]["intervals"]["ap"]
        assert low < found["by_class"]["cat"]["ap"] < high
        assert score_objects(predictions)["intervals"] == {}

    @pytest.mark.parametrize("answer", ["none", "?", labelled("cat", [CAT])])
    def test_nothing_to_find_gives_no_figure_instead_of_0(self, answer):
        found = get_kind("objects").score([picture("a", answer)], ScoreOptions())
        assert found["map"] is None and found["recall_50"] is None
        assert get_kind("objects").summary(found)

    def test_scores(self):
        sure = picture("a", labelled("cat", [CAT]), label_0=0.5, box_0=0.5**4)
        assert get_kind("objects").answers([sure])[0]["objects"] == [
            {"class": "cat", "box": list(CAT), "score": pytest.approx(0.25)}
        ]
        assert math.isclose(score_objects([sure], score="constant")["precision_50"], 0.0)

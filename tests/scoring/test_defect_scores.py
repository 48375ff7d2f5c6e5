import pytest
from scripted import generation, part, said

from minigpt4.models.generation import span_probability
from minigpt4.scoring.box_score import box_score
from minigpt4.scoring.defect_answers import answer_spans, parse_answer
from minigpt4.scoring.detection import score_detection, summary

BOX, OTHER = (10, 20, 40, 50), (60, 60, 90, 95)
FAR = (70, 5, 95, 30)


def defect(path, answer=None, *, box=BOX, label=1.0, **boxes):
    made = part(path, answer or said(path.split("/")[0], "defect", box), bbox=BOX, label=label)
    made.probabilities |= boxes
    return made


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("<p>a-defect</p>{<1><2><3><4>}", ["defect", "<1><2><3><4>"]),
        ("<p>a-defect</p>{<1><2><3><4>}<delim>{<5><6><7><8>}",
         ["defect", "<1><2><3><4>", "<5><6><7><8>"]),
        ("<p>a-defect</p>{<1><2><3><4>}<p>a-defect</p>{<5><6><7><8>}",
         ["defect", "<1><2><3><4>", "<5><6><7><8>"]),
        # A box without an area and one of the other label are no boxes of the answer.
        ("<p>a-defect</p>{<9><9><3><4>}<delim>{<5><6><7><8>}<p>a-not-defect</p>{<0><0><9><9>}",
         ["defect", "<5><6><7><8>"]),
        ("<p>cable</p>{<1><2><3><4>}<p>a-not-defect</p>{<5><6><7><8>}",
         ["not-defect", "<5><6><7><8>"]),
    ],
)  # fmt: skip
def test_spans_of_label_and_of_each_box_that_counts(text, spans):
    found = answer_spans(text)
    assert list(found) == ["label", *(f"box_{i}" for i in range(len(spans) - 1))]
    assert [text[start:end] for start, end in found.values()] == spans
    assert len(parse_answer(text).boxes) == len(spans) - 1


def test_a_box_is_as_sure_as_its_label_times_the_mean_of_its_coordinates():
    text = said("a", "defect", BOX)
    made = generation(text, {"defect": 0.8, "10": 0.9, "20": 0.4, "40": 0.5, "50": 0.2})
    answered = part("a/cut/0.png", text, bbox=BOX)
    answered.probabilities = {
        name: span_probability(made, *span) for name, span in answer_spans(text).items()
    }
    assert answered.probabilities["box_0"] == pytest.approx(0.9 * 0.4 * 0.5 * 0.2)
    assert box_score(answered, 0) == pytest.approx(0.8 * (0.9 * 0.4 * 0.5 * 0.2) ** 0.25)


def test_unsure_coordinates_move_a_box_back():
    parts = [
        defect("a/cut/0.png", label=0.9, box_0=0.6**4),
        defect("a/cut/1.png", box=FAR, label=0.95, box_0=0.2**4),  # surer of the label, not of it
    ]
    # The right box comes first: precision 1 up to recall 1/2. By the label it would be 1/2.
    assert score_detection(parts)["ap_defect"] == pytest.approx(51 / 101)
    for each in parts:
        del each.probabilities["box_0"]
    assert score_detection(parts)["ap_defect"] == pytest.approx(0.5 * 51 / 101)
    assert score_detection(parts, score="constant")["ap_defect"] == pytest.approx(51 / 101)


def test_the_pictures_score_is_of_the_label_alone():
    sure = defect("a/cut/0.png", label=0.9, box_0=0.001)
    alarm = part("a/good/0.png", said("a", "defect", BOX), label=0.8)
    assert score_detection([sure, alarm])["auroc"] == 1.0


def test_every_true_and_every_answered_box_counts():
    two = part("a/cut/0.png", said("a", "defect", BOX), bbox=BOX, boxes=[list(BOX), list(OTHER)])
    metrics = score_detection([two])
    assert metrics["ap_defect"] == pytest.approx(51 / 101)  # one of two found
    assert metrics["mean_iou_defect"] == pytest.approx(0.5)
    both = said("a", "defect", BOX) + "<delim>" + "{<60><60><90><95>}"
    two.answer = both
    assert score_detection([two])["ap_defect"] == pytest.approx(1.0)
    # A surer box that finds nothing comes before the right one.
    wrong = defect("a/cut/0.png", both, box_0=0.1, box_1=0.9)
    assert score_detection([wrong])["ap_defect"] == pytest.approx(0.5)


def test_the_wrong_object_matches_nothing_where_objects_count():
    parts = [
        defect("bottle/cut/0.png", said(" Bottle", "defect", BOX)),
        defect("cable/cut/0.png", said("bottle", "defect", BOX), label=0.9),
        part("cable/good/0.png", said("cable", "not-defect")),
    ]
    metrics = score_detection(parts)
    assert metrics["map"] == pytest.approx(1.0)
    # Bottle: found first, the false one after it; cable's defect: missed; good cable: found.
    assert metrics["class_aware"]["map"] == pytest.approx(2 / 3)


def test_without_labels_only_boxes_count():
    parts = [
        defect("a/cut/0.png", said("a", "not-defect", BOX)),
        part("a/good/0.png", said("a", "defect")),
    ]
    metrics = score_detection(parts)
    assert metrics["map"] == 0.0
    assert metrics["class_agnostic"]["map"] == pytest.approx(1.0)


def test_sizes_are_shares_of_the_picture():
    boxes = {"small": (0, 0, 9, 11), "medium": (0, 0, 10, 10), "large": (0, 0, 20, 50)}
    parts = [
        part(f"a/cut/{name}.png", said("a", "defect", box), bbox=box) for name, box in boxes.items()
    ]
    parts[1].answer = said("a", "not-defect")
    metrics = score_detection(parts)["by_size"]
    assert {name: each["ap"] for name, each in metrics.items()} == pytest.approx(
        {"small": 1.0, "medium": 0.0, "large": 1.0}
    )
    assert [each["count"] for each in metrics.values()] == [1, 1, 1]
    assert metrics["medium"]["recall"] == metrics["medium"]["mean_iou"] == 0.0
    whole = part("a/cut/0.png", said("a", "defect"), bbox=(0, 0, 100, 100))
    assert list(score_detection([whole])["by_size"]) == ["large"]


def test_best_threshold_by_hand():
    # Defect scores: broken 0.9, 0.6, 0.2; good 0.7, 0.1. From 0.6 on: two hits, one false alarm,
    # one miss, F1 2/3; from 0.2 on: three hits and one false alarm, 6/7; from 0.9: 1/2.
    parts = [
        defect("a/cut/0.png", label=0.9),
        defect("a/cut/1.png", label=0.6),
        defect("a/cut/2.png", said("a", "not-defect"), label=0.8),
        part("a/good/0.png", said("a", "defect", BOX), label=0.7),
        part("a/good/1.png", said("a", "not-defect"), label=0.9),
    ]
    best = score_detection(parts)["best_threshold"]
    assert best["threshold"] == pytest.approx(0.2)
    assert best["f1"] == pytest.approx(6 / 7)
    assert best["chosen_on_these_pictures"] is True
    assert score_detection(parts)["f1"] == pytest.approx(2 / 3)
    assert score_detection(parts[3:])["best_threshold"] is None


def test_calibration_is_of_the_labels_that_were_read():
    parts = [
        defect("a/cut/0.png", label=0.95),
        defect("a/cut/1.png", said("a", "not-defect"), label=0.75),
        part("a/good/0.png", "nothing to read", label=0.5),
    ]
    found = score_detection(parts)["calibration"]
    assert found["count"] == 2
    assert found["ece"] == pytest.approx((0.05 + 0.75) / 2)


def test_intervals_only_when_asked_for_and_around_their_figures():
    parts = []
    for i in range(40):
        parts.append(defect(f"a/cut/{i}.png", box=BOX if i % 4 else FAR, label=0.6 + i / 200))
        answer = said("a", "defect", BOX) if i % 5 == 0 else said("a", "not-defect")
        parts.append(part(f"a/good/{i}.png", answer, label=0.7))
    assert score_detection(parts)["intervals"] == {}
    metrics = score_detection(parts, resamples=200)
    named = ["map", "map_50", "map_75", "ap_defect", "ap_not_defect", "auroc", "f1",
             "mean_iou_defect"]  # fmt: skip
    assert sorted(metrics["intervals"]) == sorted(named)
    for name in named:
        low, high = metrics["intervals"][name]
        assert low < metrics[name] < high, name
    assert metrics == score_detection(parts, resamples=200)
    assert "95 % interval" in summary(metrics)[0]


def test_figures_that_no_picture_defines_have_no_interval():
    parts = [part(f"a/good/{i}.png", said("a", "not-defect")) for i in range(5)]
    metrics = score_detection(parts, resamples=50)
    assert metrics["ap_defect"] is None and metrics["by_size"] == {}
    assert not {"ap_defect", "auroc", "f1", "mean_iou_defect"} & set(metrics["intervals"])
    assert any("–" in line for line in summary(metrics))


def test_steps_are_averaged_where_they_are_known():
    parts = [defect("a/cut/0.png"), defect("a/cut/1.png")]
    assert score_detection(parts)["mean_steps"] is None
    parts[0].steps, parts[1].steps = 9, 20
    assert score_detection(parts)["mean_steps"] == pytest.approx(14.5)

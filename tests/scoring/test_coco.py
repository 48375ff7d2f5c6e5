import pytest

from minigpt4.scoring.coco import Detections, average_precision, coco_evaluate

BOX = (10, 10, 50, 50)
FAR = (60, 60, 90, 90)


def found(box, label=1, score=1.0):
    return Detections([box], [label], [score])


def true(box, label=1):
    return Detections([box], [label])


def test_a_perfect_detection_has_ap_one():
    result = average_precision([found(BOX)], [true(BOX)])
    assert [result.map, result.map_50, result.map_75] == pytest.approx([1.0] * 3)


def test_no_detection_has_ap_zero_not_an_undefined_one():
    assert average_precision([Detections()], [true(BOX)]).map == 0.0


def test_ap_by_hand_one_of_two_pictures_missed():
    # The one detection is right: precision 1 up to recall 0.5, that is at 51 of 101 recall points.
    result = average_precision([found(BOX), Detections()], [true(BOX), true(BOX)])
    assert result.map == pytest.approx(51 / 101)


def test_ap_by_hand_a_surer_false_alarm_halves_precision():
    result = average_precision(
        [found(FAR, score=0.9), found(BOX, score=0.8)], [true(BOX), true(BOX)]
    )
    # Right detection comes second: precision 1/2 up to recall 1/2.
    assert result.map == pytest.approx(0.5 * 51 / 101)


def test_ap_by_hand_scores_decide_the_order():
    result = average_precision(
        [found(FAR, score=0.3), found(BOX, score=0.8)], [true(BOX), true(BOX)]
    )
    assert result.map == pytest.approx(51 / 101)


def test_ap_by_hand_overlap_counts_up_to_its_threshold():
    # 40 x 40 against 40 x 29: IoU 0.725, so right at 0.50 ... 0.70, five of ten thresholds.
    result = average_precision([found((10, 10, 50, 39))], [true(BOX)])
    assert [result.map_50, result.map_75, result.map] == pytest.approx([1.0, 0.0, 0.5])


def test_thresholds_may_be_given():
    pair = [found((10, 10, 50, 39))], [true(BOX)]
    strict = coco_evaluate(*pair, iou_thresholds=[0.73] * 10)
    assert strict.precision[:, :, 0, 0, 2].mean() == 0.0
    assert coco_evaluate(*pair).precision[0, :, 0, 0, 2].mean() == pytest.approx(1.0)


def test_labels_are_averaged_and_absent_ones_left_out():
    result = average_precision([found(BOX, 1), found(FAR, 0)], [true(BOX, 1), true(BOX, 0)])
    assert result.per_label[1].ap == pytest.approx(1.0)
    assert result.per_label[0].ap == pytest.approx(0.0)
    assert result.map == pytest.approx(0.5)
    only = average_precision([found(BOX, 1), found(BOX, 0)], [true(BOX, 1), true(BOX, 1)])
    assert set(only.per_label) == {1}
    assert only.map == only.per_label[1].ap


def test_without_true_boxes_nothing_is_defined():
    assert average_precision([], []).map is None
    assert average_precision([found(BOX)], [Detections()]).map is None


def test_pictures_must_pair_up():
    with pytest.raises(ValueError, match="1 pictures predicted, 2 given"):
        average_precision([found(BOX)], [true(BOX), true(BOX)])


def test_precision_curve_runs_over_recall():
    result = average_precision([found(BOX), Detections()], [true(BOX), true(BOX)])
    curve = result.per_label[1].precision_50
    assert len(curve) == 101
    assert curve[50] == pytest.approx(1.0)
    assert curve[51] == 0.0

import pytest

from minigpt4.common.metrics import accuracy_by, auroc, f1, mean, percent, roc_curve


def test_auroc_by_hand():
    # Of the 2 x 2 pairs, the good 0.6 beats the broken 0.4: three of four are in order.
    assert auroc([True, True, False, False], [0.9, 0.4, 0.6, 0.1]) == pytest.approx(0.75)
    assert auroc([True, True], [0.9, 0.4]) is None
    assert roc_curve([True, True], [0.9, 0.4]) is None


def test_roc_curve_ends_at_both_corners():
    false_rate, true_rate = roc_curve([True, False], [0.9, 0.1])
    assert (false_rate[0], true_rate[0]) == (0, 0)
    assert (false_rate[-1], true_rate[-1]) == (1, 1)


def test_f1_by_hand():
    # One of two found (recall 1/2), one of two alarms right (precision 1/2).
    assert f1([True, True, False], [True, False, True]) == pytest.approx(0.5)
    assert f1([True], [False]) == 0.0
    assert f1([False], [True]) is None


def test_accuracy_by_group_keeps_counts():
    assert accuracy_by(["b", "a", "b"], [True, False, False]) == {
        "a": {"accuracy": 0.0, "correct": 0, "count": 1},
        "b": {"accuracy": 0.5, "correct": 1, "count": 2},
    }


def test_mean_and_percent_of_nothing():
    assert mean([]) is None
    assert percent(None) == "–"
    assert percent(0.59349) == "59.35 %"

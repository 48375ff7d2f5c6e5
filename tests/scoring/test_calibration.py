import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_calibration_error

from minigpt4.scoring.calibration import calibration


def test_ece_by_hand():
    # Bin 0.6-0.7: two answers at 0.65, one right; bin 0.9-1: two at 0.95, both right.
    found = calibration([0.65, 0.65, 0.95, 0.95], [True, False, True, True])
    assert found["ece"] == pytest.approx((2 * 0.15 + 2 * 0.05) / 4)
    assert found["bins"][6] == {
        "low": pytest.approx(0.6), "high": pytest.approx(0.7), "count": 2,
        "confidence": pytest.approx(0.65), "accuracy": 0.5,
    }  # fmt: skip
    assert found["bins"][0]["accuracy"] is None
    assert sum(each["count"] for each in found["bins"]) == found["count"] == 4


@pytest.mark.parametrize("bins", [10, 15])
def test_ece_is_torchmetrics_own(bins):
    random = np.random.default_rng(0)
    sure = random.random(500).astype(np.float32)
    right = random.random(500) < sure**2
    theirs = binary_calibration_error(
        torch.tensor(sure), torch.tensor(right).long(), n_bins=bins, norm="l1"
    )
    assert calibration(sure, right, bins=bins)["ece"] == pytest.approx(theirs.item(), abs=1e-6)


def test_certainty_falls_into_the_last_bin():
    found = calibration([1.0, 1.0, 0.0], [True, False, False])
    assert (found["bins"][9]["count"], found["bins"][0]["count"]) == (2, 1)
    assert found["ece"] == pytest.approx(2 / 3 * 0.5)


def test_nothing_has_no_error():
    assert calibration([], [])["ece"] is None

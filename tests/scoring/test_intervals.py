import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from minigpt4.scoring.intervals import Bootstrap


def test_independent_answers_give_the_binomial_interval():
    right = np.arange(1000) % 10 < 8
    low, high = Bootstrap(range(1000), resamples=4000).mean(right)
    # 0.8 +- 1.96 * sqrt(0.8 * 0.2 / 1000), Monte Carlo error aside.
    assert low == pytest.approx(0.7752, abs=0.003)
    assert high == pytest.approx(0.8248, abs=0.003)


def test_questions_about_one_picture_are_drawn_together():
    right = np.repeat(np.arange(100) % 10 < 8, 10)
    pictures = np.repeat(np.arange(100), 10).tolist()
    low, high = Bootstrap(pictures, resamples=4000).mean(right)
    # 100 independent pictures, not 1,000 answers: 1.96 * sqrt(0.8 * 0.2 / 100) = 0.078.
    assert high - low == pytest.approx(2 * 0.0784, abs=0.012)


def test_the_seed_decides():
    values, pictures = np.arange(50) / 50, list(range(50))
    assert Bootstrap(pictures, seed=1).mean(values) == Bootstrap(pictures, seed=1).mean(values)
    assert Bootstrap(pictures, seed=1).mean(values) != Bootstrap(pictures, seed=2).mean(values)


def test_no_interval_without_resamples_or_with_one_picture():
    assert Bootstrap(["a", "b"], resamples=0).mean([1, 0]) is None
    assert Bootstrap(["a", "a"]).mean([1, 0]) is None
    assert Bootstrap([]).mean([]) is None


def test_samples_without_a_picture_stand_for_themselves():
    assert Bootstrap([""] * 4).mean([1, 0, 1, 0]) == Bootstrap(range(4)).mean([1, 0, 1, 0])


def test_a_mean_over_some_leaves_out_resamples_without_them():
    rare = Bootstrap(range(3), resamples=200)
    low, high = rare.mean([0.25, 0.5, 1.0], where=[True, True, False])
    assert 0.25 <= low < high <= 0.5
    assert rare.mean([0.25, 0.5, 1.0], where=[False] * 3) is None


def test_nothing_is_said_where_every_resample_is_the_same():
    made = Bootstrap(range(3), resamples=200)
    assert made.mean([1.0, 1.0, 1.0]) is None
    assert made.f1([True] * 3, [True] * 3) is None
    assert made.auroc([True, False, True], [0.9, 0.1, 0.8]) is None


@pytest.mark.parametrize("metric", ["mean", "f1", "auroc"])
def test_every_resample_equals_its_copied_samples(metric):
    random = np.random.default_rng(0)
    clusters = random.integers(0, 12, 40).tolist()
    positive = random.random(40) < 0.3
    scores = random.integers(0, 6, 40) / 5  # with ties
    made = Bootstrap(clusters, resamples=120)
    values = []

    def percentiles(weights):
        for row in weights:
            rows = np.repeat(np.arange(40), row[made.cluster].astype(int))
            if metric == "mean" and positive[rows].any():
                values.append(scores[rows][positive[rows]].mean())
            elif metric == "f1" and positive[rows].any():
                values.append(f1_score(positive[rows], scores[rows] > 0.5))
            elif metric == "auroc" and len(set(positive[rows])) == 2:
                values.append(roc_auc_score(positive[rows], scores[rows]))
        return np.zeros(len(weights))

    made.interval(percentiles)
    assert len(values) > 100
    interval = {
        "mean": lambda: made.mean(scores, where=positive),
        "f1": lambda: made.f1(positive, scores > 0.5),
        "auroc": lambda: made.auroc(positive, scores),
    }[metric]()
    assert interval == pytest.approx(np.percentile(values, [2.5, 97.5]).tolist(), abs=1e-12)


def test_only_one_class_has_no_ranking():
    assert Bootstrap(range(4), resamples=50).auroc([True] * 4, [0.1, 0.2, 0.3, 0.4]) is None
    assert Bootstrap(range(4), resamples=50).f1([False] * 4, [True] * 4) is None

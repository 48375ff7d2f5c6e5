import pytest

from minigpt4.scoring.binary import pair_of, score_binary
from minigpt4.scoring.kinds import ScoreOptions, get_kind
from minigpt4.scoring.prediction import Prediction


def question(answer, reference, probability=1.0, picture=""):
    return Prediction(
        id=f"{answer}-{reference}-{probability}",
        answer=answer,
        finished=True,
        probability=probability,
        picture=picture,
        meta={"answer": reference},
    )


def test_only_questions_of_two_answers_are_told_apart():
    assert pair_of([question("x", "yes"), question("x", "No")]) == ("yes", "no")
    assert pair_of([question("x", "False")]) == ("true", "false")
    assert pair_of([question("x", "yes"), question("x", "true")]) is None
    assert pair_of([question("x", "yes"), question("x", "red")]) is None
    assert score_binary([question("x", "red")]) is None
    assert "binary" not in get_kind("vqa").score([question("x", "red")], ScoreOptions(resamples=0))


def test_how_sure_an_answer_is_orders_the_samples():
    rows = [
        question("Yes", "yes", 0.9),
        question("no", "yes", 0.6),  # 0.4 for yes
        question("yes", "no", 0.7),
        question("no", "no", 0.8),  # 0.2 for yes
        question("perhaps", "no", 0.9),  # undecided
    ]
    found = score_binary(rows)
    # Of six pairs the first positive wins three, the second one.
    assert found["auroc"] == pytest.approx(4 / 6)
    assert found["f1"] == pytest.approx(2 * 1 / (2 + 2))
    assert found["neither"] == 1
    assert found["share_positive"] == pytest.approx(2 / 5)
    assert found["share_said"] == pytest.approx(2 / 5)


def test_figures_that_one_class_alone_does_not_define():
    found = score_binary([question("no", "no"), question("no", "no")])
    assert found["auroc"] is None
    assert found["f1"] is None


def test_summary_and_intervals():
    rows = [
        question(a, r, picture=f"{i}")
        for i, (a, r) in enumerate([("yes", "yes"), ("no", "no"), ("yes", "no"), ("no", "yes")] * 5)
    ]
    kind = get_kind("vqa")
    metrics = kind.score(rows, ScoreOptions(resamples=200))
    low, high = metrics["binary"]["intervals"]["auroc"]
    assert low < metrics["binary"]["auroc"] == 0.5 < high
    assert "Telling yes from no: AUROC 50.00 %" in kind.summary(metrics)[-1]

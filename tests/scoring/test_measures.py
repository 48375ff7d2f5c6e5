import unicodedata

import numpy as np
import pytest

from minigpt4.scoring.answers import anls, clean, edit_distance, exact, token_f1, vizwiz, vqa


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("The Dog.", "dog"),
        ("a  cat\tand\nan owl", "cat and owl"),
        ("Two", "2"),
        ("none", "0"),
        ("eleven", "eleven"),
        ("t-shirt", "t shirt"),  # punctuation inside a word parts it
        ("black, white", "black white"),  # beside a space it goes
        ("1,000 people", "1000 people"),  # in a number it goes
        ("1,000/day", "1000day"),  # and then every mark goes
        ("3.5", "3.5"),
        ("3. base", "3 base"),
        ("u.s.a.", "usa"),
        ("what?", "what"),
        ("dont", "don't"),
        ("don't", "don't"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("its", "its"),  # could be either
        ("somebodys dog", "somebody's dog"),
        ("12:30", "12:30"),
        ("Màu đỏ!", "màu đỏ"),
    ],
)
def test_the_vqa_challenges_cleaning(text, cleaned):
    assert clean(text) == cleaned
    assert clean(unicodedata.normalize("NFD", text)) == cleaned


@pytest.mark.parametrize(
    ("agreeing", "share"),
    # Leaving one of ten out: of k who agree, k times k - 1 remain, else k.
    [(0, 0.0), (1, 9 / 10 / 3), (2, (2 / 3 + 8 * 2 / 3) / 10), (3, (3 * 2 / 3 + 7) / 10), (4, 1.0),
     (10, 1.0)],
)  # fmt: skip
def test_vqa_accuracy_by_hand_with_ten_people(agreeing, share):
    references = ["Dog"] * agreeing + [f"cat {i}" for i in range(10 - agreeing)]
    assert vqa("the dog", references) == pytest.approx(share)


def test_vqa_accuracy_is_the_mean_over_all_nines():
    references = ["yes", "yes", "no", "yes.", "maybe", "no", "Yes", "2", "two", "a yes"]
    for answer in ("yes", "no", "two", "maybe", "green"):
        kept = [
            min(sum(clean(other) == clean(answer) for other in references[:i] + references[i + 1 :])
                / 3, 1)
            for i in range(10)
        ]  # fmt: skip
        assert vqa(answer, references) == pytest.approx(np.mean(kept))


def test_an_only_reference_is_all_or_nothing():
    assert (vqa("2", ["two"]), vqa("3", ["two"])) == (1.0, 0.0)


def test_vizwiz_counts_people():
    references = ["Coke", "coke ", "coca cola", "unanswerable", "can of coke"]
    assert vizwiz("coke", references) == pytest.approx(2 / 3)
    assert vizwiz("COCA  cola", references) == pytest.approx(1 / 3)
    assert vizwiz("coke", ["coke"] * 7) == 1.0
    assert vizwiz("pepsi", references) == 0.0


def test_exact_matches_any_reference():
    assert exact(unicodedata.normalize("NFD", " Màu  đỏ"), ["xanh", "màu đỏ"]) == 1.0
    assert exact("mau do", ["xanh", "màu đỏ"]) == 0.0


def test_anls_by_hand():
    assert anls("house", ["house"]) == 1.0
    assert anls("hause", ["house", "mouse"]) == pytest.approx(4 / 5)
    assert anls("ab", ["ac"]) == pytest.approx(0.5)  # the threshold itself counts
    assert anls("abc", ["axy"]) == 0.0
    assert anls("a", ["abcdef"]) == 0.0
    assert anls(unicodedata.normalize("NFD", "đỏ"), ["đó"]) == pytest.approx(0.5)
    assert anls("  HOUSE ", ["house"]) == 1.0


def test_edit_distance_is_torchmetrics_own():
    from torchmetrics.functional.text import edit_distance as theirs

    random = np.random.default_rng(0)
    words = ["".join(random.choice(list("abcđỏ"), random.integers(0, 9))) for _ in range(120)]
    for a, b in zip(words, reversed(words), strict=True):
        assert edit_distance(a, b) == int(theirs([a], [b], reduction="sum"))


def test_token_f1_is_torchmetrics_squad_without_articles():
    from torchmetrics.functional.text import squad

    said = ["red car", "blue big car", "bus", "xe buýt màu đỏ", "Red, car!", "", "dog dog cat"]
    wanted = [["red car"], ["car", "blue"], ["car"], ["xe màu đỏ", "xe"], ["red car"], ["x"],
              ["dog cat cat"]]  # fmt: skip
    for answer, references in zip(said, wanted, strict=True):
        theirs = squad(
            [{"prediction_text": answer, "id": "0"}],
            [{"answers": {"answer_start": [0], "text": references}, "id": "0"}],
        )["f1"]
        assert token_f1(answer, references) == pytest.approx(float(theirs) / 100, abs=1e-6)
    assert token_f1("dog dog cat", ["dog cat cat"]) == pytest.approx(2 * 2 / 6)

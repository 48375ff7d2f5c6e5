"""Constraints by themselves: which texts they hold, and that all of them can be read."""

from __future__ import annotations

import random
from typing import Any

import pytest

from minigpt4.common.errors import ConfigError
from minigpt4.models.constraints import AnswerSet, DefectGrammar
from minigpt4.scoring.defect_answers import DEFECT, NOT_DEFECT, parse_answer

GRAMMARS = [
    DefectGrammar(["bottle", "metal_nut", "metal nut", "cá rô", "t-shirt"], max_boxes=3),
    DefectGrammar(["not a nut"]),
    DefectGrammar(None),
    DefectGrammar(None, max_boxes=2),
]
ANSWERS = AnswerSet(["đỏ", "đỏ tươi", "màu xanh", "màu xanh lá cây", "trắng", "trong 🦙"])
MISLEADING = ("-not-defect", "-not", "-defect", "not", *"not-defect knotabé<")
"""What labels are made of, and what could be taken for one."""


def holds(constraint: Any, text: str) -> bool:
    state = constraint.start
    for character in text:
        state = constraint.step(state, character)
        if state is None:
            return False
    return constraint.is_final(state)


def drawn(constraint: Any, rng: random.Random) -> str:
    """A random text; where almost anything may follow, of pieces that could mislead."""
    state, text = constraint.start, ""
    while True:
        following = constraint.characters(state)
        if constraint.is_final(state) and (not following or rng.random() < 0.5):
            return text
        for character in rng.choice(MISLEADING if len(following) > 200 else sorted(following)):
            after = constraint.step(state, character)
            if after is None:
                break
            text, state = text + character, after


@pytest.mark.parametrize("number", range(len(GRAMMARS)))
def test_every_text_of_a_grammar_can_be_read(number):
    grammar, rng = GRAMMARS[number], random.Random(number)
    labels = set()
    for _ in range(1000):
        text = drawn(grammar, rng)
        answer = parse_answer(text)
        assert answer is not None, text
        phrase = text[len("<p>") : text.index("</p>")]
        good = phrase.endswith("-not-defect")
        assert answer.label == (NOT_DEFECT if good else DEFECT), text
        name = phrase.removesuffix("-not-defect" if good else "-defect")
        assert answer.object_class == name
        assert grammar.classes is None or name in grammar.classes
        assert len(answer.boxes) == text.count("{") <= grammar.max_boxes, "no box without area"
        assert len(name) <= 60
        labels.add(answer.label)
    assert labels == {DEFECT, NOT_DEFECT}


@pytest.mark.parametrize("name", ["bottle", "metal nut", "t-shirt", "cá rô", "knot-tie", "PCB_4"])
@pytest.mark.parametrize("label", ["defect", "not-defect"])
def test_what_training_asks_for_is_allowed(name, label):
    text = f"<p>{name}-{label}</p>{{<0><0><100><100>}}"
    assert holds(DefectGrammar([name]), text)
    assert holds(DefectGrammar(None), text)


@pytest.mark.parametrize(
    "text",
    [
        "<p>knot-defect</p>{<1><2><3><4>}",
        "<p>not-defect</p>{<1><2><3><4>}",
        "<p>-defect</p>{<1><2><3><4>}",
        "<p>nut -defect</p>{<1><2><3><4>}",
        "<p>nut</p>{<1><2><3><4>}",
        "<p>nut-defect</p>{<1><2><1><4>}",
        "<p>nut-defect</p>{<1><4><3><4>}",
        "<p>nut-defect</p>{<1><2><3><101>}",
        "<p>nut-defect</p>{<01><2><3><4>}",
        "<p>nut-defect</p>{<100><2><100><4>}",
        "<p>nut-defect</p>{<1><2><3>}",
        "<p>nut-defect</p>",
        "<p>nut-defect</p>{<1><2><3><4>}<delim>",
        "<p>nut-defect</p>{<1><2><3><4>}<delim>{<1><2><3><4>}",
        "<p>nut\n-defect</p>{<1><2><3><4>}",
        "",
    ],
)
def test_what_a_grammar_leaves_out(text):
    assert not holds(DefectGrammar(None), text)
    assert holds(DefectGrammar(None), "<p>nut-defect</p>{<1><2><3><4>}")


def test_a_known_name_may_end_like_a_label():
    for label, number in (("defect", DEFECT), ("not-defect", NOT_DEFECT)):
        text = f"<p>knot-{label}</p>{{<1><2><3><4>}}"
        assert holds(DefectGrammar(["knot"]), text)
        answer = parse_answer(text)
        assert (answer.label, answer.object_class) == (number, "knot")


def test_a_name_that_ends_like_a_label_can_still_be_good():
    assert holds(DefectGrammar(None), "<p>knot-not-defect</p>{<1><2><3><4>}")


@pytest.mark.parametrize("constraint", [*GRAMMARS, ANSWERS])
def test_from_everywhere_there_is_a_way_to_the_end(constraint):
    rng = random.Random(1)
    for _ in range(12):
        text = drawn(constraint, rng)
        state = constraint.start
        for character in text:
            rest = constraint.finish(state)
            onward = state
            for place, each in enumerate(rest):
                assert len(constraint.finish(onward)) == len(rest) - place, "no detour"
                onward = constraint.step(onward, each)
            assert constraint.is_final(onward)
            state = constraint.step(state, character)
        assert constraint.finish(state) == ""


def test_the_shortest_way_is_the_shortest():
    grammar = DefectGrammar(["nut", "bolt"])
    assert grammar.finish(grammar.start) == "<p>nut-defect</p>{<0><0><1><1>}"
    state = grammar.start
    for character in "<p>bolt-not-defect</p>{<99><9>":
        state = grammar.step(state, character)
    assert grammar.finish(state) == "<100><10>}"


def test_a_set_of_answers_holds_them_and_nothing_else():
    for answer in ("đỏ", "đỏ tươi", "trong 🦙"):
        assert holds(ANSWERS, answer)
    for other in ("", "đ", "đỏ ", "đỏ tươ", "Đỏ", "màu xanh lá"):
        assert not holds(ANSWERS, other)
    assert ANSWERS.finish("màu xanh l") == "á cây"


def test_answers_are_made_alike_and_counted_once():
    decomposed = "đo\N{COMBINING HOOK ABOVE}"
    answers = AnswerSet([decomposed, " đỏ ", "đỏ", "hai"])
    assert answers.answers == ("đỏ", "hai")
    turned = AnswerSet(["hai", "đỏ"])
    assert answers == turned
    assert hash(answers) == hash(turned)
    assert answers.describe() == turned.describe() != AnswerSet(["hai"]).describe()
    assert answers.describe()["count"] == 2


@pytest.mark.parametrize("answers", [[], ["đỏ", " "], ["a</s>b"]])
def test_answers_that_no_model_can_give(answers):
    with pytest.raises(ConfigError, match="answer"):
        AnswerSet(answers)


@pytest.mark.parametrize("name", ["", " nut", "a<b", "a\nb", "not", "do not "])
def test_classes_that_cannot_be_told_apart(name):
    with pytest.raises(ConfigError, match="class"):
        DefectGrammar(["bottle", name])


def test_grammars_are_described_and_compared_by_what_they_hold():
    one, other = DefectGrammar(["a", "b"], 2), DefectGrammar(["b", "a", "b"], 2)
    assert one == other
    assert hash(one) == hash(other)
    assert one.describe() == other.describe()
    different = [DefectGrammar(["a", "b"]), DefectGrammar(["a"], 2), DefectGrammar(None, 2)]
    assert all(one != each and one.describe() != each.describe() for each in different)
    for number in (0, -1):
        with pytest.raises(ConfigError, match="max_boxes"):
            DefectGrammar(["a"], number)
    with pytest.raises(ConfigError, match="empty list"):
        DefectGrammar([])

"""Truth of what is said about a made picture: boxes, counts, places, colours, regions."""

from __future__ import annotations

import numpy as np
import pytest

from minigpt4.datasets.tiny.defects import DEFECTS
from minigpt4.datasets.tiny.easy_vqa_vi import load_questions, translate
from minigpt4.datasets.tiny.parts import GOOD, make_picture, plan
from minigpt4.datasets.tiny.scene_questions import asked_scene
from minigpt4.datasets.tiny.scenes import (
    SceneObject,
    Wanted,
    percent_box,
    place_objects,
    render,
    scatter_objects,
)
from minigpt4.datasets.tiny.streams import Stream, rng_for
from minigpt4.datasets.tiny.textures import CLASSES, TEXTURES, coin_numbers, make_part
from minigpt4.datasets.tiny.vocabulary import (
    COLOURS,
    KINDS,
    NUMBERS_VI,
    PLACES,
    SCENE_COLOURS,
    place_of,
)


def changed_box(before: np.ndarray, after: np.ndarray, threshold: float) -> list[float]:
    """Box, in hundredths, of the pixels that differ."""
    different = np.abs(after.astype(float) - before.astype(float)).max(axis=2) > threshold
    ys, xs = np.nonzero(different)
    side = before.shape[0]
    return [100 * v / side for v in (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_thing_fills_the_box_said_to_be_its_own(kind: str) -> None:
    thing = SceneObject(kind, "blue", (0.2, 0.3, 0.2 + 0.3 * min(1, KINDS[kind].aspect), 0.6))
    empty = np.asarray(render(np.random.default_rng(1), []).image)
    drawn = np.asarray(render(np.random.default_rng(1), [thing]).image)
    assert changed_box(empty, drawn, 40) == pytest.approx(percent_box(thing.box), abs=2)


@pytest.mark.parametrize("place", PLACES)
def test_things_stand_clearly_where_they_are_said_to(place: str) -> None:
    for seed in range(20):
        (thing,) = place_objects(np.random.default_rng(seed), [(Wanted("house", "red"), place)])
        x1, y1, x2, y2 = thing.box
        assert place_of((x1 + x2) / 2, (y1 + y2) / 2) == place
        assert min(x1, y1) >= 0 and max(x2, y2) <= 1


def overlap(a: SceneObject, b: SceneObject) -> bool:
    return (
        a.box[0] < b.box[2] and b.box[0] < a.box[2] and a.box[1] < b.box[3] and b.box[1] < a.box[3]
    )


def test_scattered_things_never_touch() -> None:
    for seed in range(10):
        things = scatter_objects(np.random.default_rng(seed), [Wanted("car", "red")] * 7)
        assert len(things) == 7
        assert not any(overlap(a, b) for i, a in enumerate(things) for b in things[:i])


def test_scene_answers_are_true_and_questions_have_one_answer() -> None:
    kinds = {kind.vi: key for key, kind in KINDS.items()}
    colours = {colour.vi: key for key, colour in COLOURS.items()}
    for number in range(120):
        asked = asked_scene(rng_for(3, Stream.SCENES_TRAIN, number), number)
        things = asked.scene.objects
        assert not any(overlap(a, b) for i, a in enumerate(things) for b in things[:i])
        for q in asked.questions:
            named = [t for t in things if KINDS[t.kind].vi in q.text]
            if q.type == 1:
                counted = things if "vật" in q.text else named
                assert NUMBERS_VI[len(counted)] == q.answer
            elif q.type == 2:
                assert {t.colour for t in named} == {colours[q.answer]}
            elif q.type == 3:
                assert [PLACES[t.place or ""].vi for t in named] == [q.answer]
            else:
                meant = [
                    t
                    for t in things
                    if COLOURS[t.colour].vi in q.text
                    or (t.place and q.text.endswith(PLACES[t.place].vi_at))
                ]
                assert [t.kind for t in meant] == [kinds[q.answer]]


def test_every_answer_to_a_scene_question_is_equally_common() -> None:
    answers: dict[str, list[str]] = {}
    for number in range(0, 640, 4):
        asked = asked_scene(rng_for(0, Stream.SCENES_TEST, number), number)
        answers.setdefault("how many", []).append(asked.questions[0].answer)
    counts = [answers["how many"].count(NUMBERS_VI[n]) for n in range(1, 6)]
    assert len(set(counts)) == 1


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("defect", DEFECTS)
def test_the_box_is_that_of_the_blemish(name: str, defect: str) -> None:
    picture = make_picture(rng_for(0, Stream.PARTS_TEST, 7), name, defect, "test")
    good = make_part(rng_for(0, Stream.PARTS_TEST, 7), name, "test")
    before = (good.pixels * 255).round()
    after = np.asarray(picture.image)
    found = changed_box(before, after, 45)
    # The rim of a hole and the lips of a cut fade out round the mask; nothing lies far from it.
    assert found == pytest.approx(picture.box, abs=5)
    x1, y1, x2, y2 = (round(v * 1.92) for v in picture.box)
    inside = np.abs(after.astype(float) - before).max(axis=2)[y1:y2, x1:x2]
    assert (inside > 45).mean() > 0.12


def test_a_good_part_is_left_as_it_is() -> None:
    picture = make_picture(rng_for(0, Stream.PARTS_TEST, 3), "grass", GOOD, "test")
    part = make_part(rng_for(0, Stream.PARTS_TEST, 3), "grass", "test")
    assert np.array_equal(np.asarray(picture.image), (part.pixels * 255).round().astype(np.uint8))
    assert picture.box == [0, 0, 100, 100]


def test_train_and_test_parts_come_from_different_places() -> None:
    for texture in TEXTURES.values():
        a, b = texture.regions["train"], texture.regions["test"]
        assert a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]
        for x1, y1, x2, y2 in (a, b):
            turned = texture.crop[1] * (
                np.cos(np.deg2rad(texture.tilt)) + np.sin(np.deg2rad(texture.tilt))
            )
            assert turned <= min(x2 - x1, y2 - y1)
    train, test = coin_numbers("train"), coin_numbers("test")
    assert len(train) >= 8 and len(test) >= 4 and not set(train) & set(test)


def test_plan_is_half_good_and_even() -> None:
    pairs = plan(len(CLASSES) * 20)
    assert sum(defect == GOOD for _, defect in pairs) == len(pairs) // 2
    assert len({pairs.count((name, d)) for name in CLASSES for d in DEFECTS}) == 1


@pytest.mark.parametrize(
    ("english", "answer", "vietnamese", "expected", "kind"),
    [
        ("what color is the circle?", "red", "màu của hình tròn là gì", "màu đỏ", 2),
        (
            "what is the teal shape?",
            "triangle",
            "hình màu xanh ngọc là hình gì",
            "hình tam giác",
            0,
        ),
        ("what shape is in the image?", "rectangle", "hình gì trong ảnh", "hình chữ nhật", 0),
        ("is there a blue shape?", "no", "có hình màu xanh dương không", "không", 2),
        ("does the image contain a circle?", "yes", "ảnh có hình tròn không", "có", 0),
    ],
)
def test_questions_are_translated_by_rule(
    english: str, answer: str, vietnamese: str, expected: str, kind: int
) -> None:
    question = translate(english, answer, 4)
    assert question is not None
    assert (question.text, question.answer, question.type) == (vietnamese, expected, kind)


def test_only_negated_questions_are_left_out() -> None:
    import easy_vqa

    texts, answers, _ = easy_vqa.get_test_questions()
    left_out = [t for t, a in zip(texts, answers, strict=True) if translate(t, a, 0) is None]
    assert left_out and all(" not " in t or t.startswith("is no ") for t in left_out)
    assert len(load_questions("test")) == len(texts) - len(left_out)


def test_every_scene_colour_is_far_from_the_ground() -> None:
    for seed in range(30):
        ground = np.asarray(render(np.random.default_rng(seed), []).image).reshape(-1, 3)
        for colour in SCENE_COLOURS:
            rgb = np.array(COLOURS[colour].rgb)
            assert np.abs(ground.astype(int) - rgb).max(axis=1).min() > 40

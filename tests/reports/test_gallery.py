"""Samples in a page: order, filters, boxes, pictures, size."""

import functools
import json
import shutil
import unicodedata

import numpy as np
import pytest
from pages import page, read, texts
from PIL import Image
from scripted import picture, vqa_prediction

from minigpt4.reports import page as page_module
from minigpt4.reports import pictures
from minigpt4.reports.gallery import Card, DrawnBox, Gallery, choose, gallery_of, language_of
from minigpt4.reports.vqa_sections import vqa_card

BOX = (10, 20, 40, 50)


def card(verdict="right", image=None, **values):
    fields = {"question": "màu gì", "answer": "đỏ", "reference": "đỏ", **values}
    return Card(picture=image, verdict=verdict, **fields)


def cards_of(tmp_path, *cards, **values):
    return read(page(tmp_path, Gallery("Samples", cards, **values))).all("article")


def test_cards_carry_what_they_are_filtered_and_sorted_by(tmp_path):
    (element,) = cards_of(
        tmp_path,
        card(
            "wrong", groups={"type": 'a "b" <c>'}, confidence=0.25, overlap=0.5, order=7,
            facts={"IoU": "0.50"}, raw="{<1>}",
        ),
    )  # fmt: skip
    data = {name: value for name, value in element.attributes.items() if name.startswith("data-")}
    assert json.loads(data.pop("data-groups")) == {"type": 'a "b" <c>'}
    assert data == {
        "data-verdict": "wrong", "data-confidence": "0.25", "data-overlap": "0.5",
        "data-order": "7",
    }  # fmt: skip
    assert texts(element.all("dd")) == ["đỏ", "đỏ", "0.50"]
    assert element.all("dd")[0].attributes["title"] == "{<1>}"


def test_filters_offer_what_occurs(tmp_path):
    cards = [card(groups={"type": "màu", "only": "one"}) for _ in range(2)]
    cards += [card("unparsed", groups={"type": "số", "only": "one"}, boxes=[])]
    root = read(page(tmp_path, Gallery("Samples", cards)))
    verdicts = {
        each.attributes["data-verdict"]: texts(each.all("b"))
        for each in root.all("button")
        if "data-verdict" in each.attributes
    }
    assert verdicts == {"": ["3"], "unparsed": ["1"], "right": ["2"]}
    (select,) = [each for each in root.all("select") if "data-group" in each.attributes]
    assert select.attributes["data-group"] == "type"
    assert [each.attributes["value"] for each in select.all("option")] == ["", "màu", "số"]
    assert root.all("input", type="search")
    orders = [each for each in root.all("select") if "data-order" in each.attributes]
    assert "overlap" not in [each.attributes["value"] for each in orders[0].all("option")]


def test_controls_can_be_reached_and_have_names(tmp_path):
    root = read(page(tmp_path, Gallery("Samples", [card(image=picture(0))])))
    labelled = [each for label in root.all("label") for each in label.all()]
    for control in (*root.all("select"), *root.all("input")):
        assert control in labelled
    for button in root.all("button"):
        assert button.text.strip() or button.attributes.get("aria-label")
        assert button.attributes.get("tabindex") != "-1"
    assert root.all("output", aria_live="polite")
    assert all(each.attributes.get("alt") for each in root.all("img"))


def test_confident_mistakes_come_first_then_unread_then_unsure_right_ones():
    sure, unsure = card("wrong", confidence=0.9), card("wrong", confidence=0.3)
    unread, doubtful, good = card("unparsed"), card(confidence=0.2), card(confidence=0.8)
    mixed = [good, unread, unsure, doubtful, sure]
    assert sorted(mixed, key=lambda each: each.worst_first) == [
        sure, unsure, unread, doubtful, good
    ]  # fmt: skip
    far, near = (card("wrong", overlap=each, confidence=each) for each in (0.1, 0.4))
    assert sorted([near, far], key=lambda each: each.worst_first) == [far, near]


def test_misses_are_shown_first_and_right_answers_get_half():
    verdicts = ["right", "wrong"] * 50 + ["unparsed"] * 10
    chosen = choose(verdicts, 20)
    assert [verdicts[i] == "right" for i in chosen] == [False] * 10 + [True] * 10
    assert len(set(chosen)) == 20
    assert len(choose(["right"] * 30, 20)) == 20
    assert len(choose(["right"] * 3 + ["wrong"] * 30, 20)) == 20
    assert choose(["right", "wrong"], 20) == [1, 0]


def test_a_gallery_says_when_it_does_not_show_all():
    predictions = [vqa_prediction("a", "b") for _ in range(5)]
    assert len(gallery_of(predictions, ["wrong"] * 5, vqa_card).cards) == 5
    part = gallery_of(predictions, ["wrong"] * 5, vqa_card, most=3)
    assert len(part.cards) == 3 and "3 of 5 samples" in part.note


def test_vietnamese_is_marked_as_such_and_composed(tmp_path):
    apart = unicodedata.normalize("NFD", "màu đỏ ở đâu")
    prediction = vqa_prediction(apart, apart, question=apart)
    gallery = gallery_of([prediction], ["right"], vqa_card)
    assert gallery.language == "vi"
    (element,) = read(page(tmp_path, gallery)).all("article")
    marked = element.all(lang="vi")
    assert texts(marked) == ["màu đỏ ở đâu"] * 3
    assert language_of(["café", "red"]) == ""
    assert "lang=" not in page(tmp_path, Gallery("Samples", [card()])).partition("<article")[2]


def test_answers_cannot_break_the_page(tmp_path):
    evil = "</script><img src=x onerror=alert(1)>\"'"
    html = page(tmp_path, Gallery("Samples", [card(answer=evil, raw=evil, groups={"type": evil})]))
    assert evil not in html
    assert "<img src=x" not in html


def test_boxes_lie_over_the_picture_in_per_cent(tmp_path):
    drawn = [DrawnBox(BOX, "true", true=True), DrawnBox((12, 20, 44, 50), "answer", true=False)]
    html = page(tmp_path, Gallery("Samples", [card("wrong", picture(0), boxes=drawn)]))
    assert 'class="box true" style="left:10%;top:20%;width:30%;height:30%"' in html
    assert 'class="box said" style="left:12%;top:20%;width:32%;height:30%"' in html
    assert "--ratio:1.3333" in html
    assert "true box" in html


def test_labels_stay_inside_the_picture():
    def place(box, true):
        return DrawnBox(box, "", true=true).label_place

    assert place((10, 20, 40, 50), True) == "above from-left"
    assert place((10, 20, 40, 50), False) == "below from-left"
    assert place((80, 0, 90, 50), True) == "below from-right"
    assert place((0, 0, 100, 100), False) == "inside from-left"


def test_a_picture_that_is_gone_or_broken_is_said_to_be(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    picture(1).save(tmp_path / "there.png")
    names = ("gone.png", "broken.jpg", "there.png")
    gone, broken, there = cards_of(tmp_path, *(card(image=tmp_path / name) for name in names))
    for element, name in ((gone, "gone.png"), (broken, "broken.jpg")):
        assert name in element.text and "can no longer be read" in element.text
        assert element.all("img") == []
    assert len(there.all("img")) == 1


def test_a_picture_of_several_samples_is_embedded_once(tmp_path):
    picture(1).resize((900, 300)).save(tmp_path / "a.png")
    path = tmp_path / "a.png"
    elements = cards_of(tmp_path, card(image=path), card(image=picture(2)), card(image=path))
    first, other, again = (each.all("img")[0].attributes for each in elements)
    assert first["src"].startswith("data:image/jpeg") and other["src"] != first["src"]
    assert "src" not in again and again["data-same"] == first["id"]
    assert [each.all(kind="frame")[0].attributes["style"] for each in elements] == [
        "--ratio:3.0", "--ratio:1.3333", "--ratio:3.0"
    ]  # fmt: skip


def test_too_many_bytes_make_pictures_smaller(tmp_path, monkeypatch):
    gallery = Gallery("Samples", [card(image=picture(i).resize((320, 240))) for i in range(10)])
    large = len(page(tmp_path, gallery))
    most = 30_000
    monkeypatch.setattr(page_module, "embed", functools.partial(pictures.embed, most_bytes=most))
    small = len(page(tmp_path, gallery))
    assert small < large and small < most * 4 / 3 + 40_000


@pytest.mark.parametrize("samples", [500])
def test_the_worst_pictures_of_500_samples_fit_into_15_megabytes(tmp_path, samples):
    """Noise compresses worse than any photograph."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (448, 448, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "0.jpg", quality=95)
    for i in range(1, samples):
        shutil.copy(tmp_path / "0.jpg", tmp_path / f"{i}.jpg")
    predictions = [
        vqa_prediction("màu đỏ", "màu xanh lá cây", question="màu của chiếc bình hoa là gì")
        for _ in range(samples)
    ]
    for i, each in enumerate(predictions):
        each.image_path = str(tmp_path / f"{i}.jpg")
    gallery = gallery_of(predictions, ["wrong"] * samples, vqa_card)
    assert len(gallery.cards) == samples
    size = len(page(tmp_path, gallery).encode())
    assert 4_000_000 < size < 15_000_000

import functools
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest
from scripted import part, picture, said, vqa_prediction

from minigpt4.reports import page as report
from minigpt4.reports import pictures, plots
from minigpt4.reports.detection_sections import detection_card
from minigpt4.reports.gallery import choose
from minigpt4.reports.page import (
    Card,
    DrawnBox,
    Figure,
    Gallery,
    Headline,
    Note,
    Plot,
    Plots,
    Table,
    cell,
    write_report,
)
from minigpt4.reports.sections import evaluation_sections
from minigpt4.reports.vqa_sections import vqa_card
from minigpt4.scoring.detection import score_detection
from minigpt4.scoring.vqa import score_vqa

BOX = (10, 20, 40, 50)
CHROMIUM = shutil.which("chromium")


def card(verdict="right", image=None, **values):
    fields = {"question": "màu gì", "answer": "đỏ", "reference": "đỏ", **values}
    return Card(picture=image, verdict=verdict, **fields)


def page(tmp_path, *sections):
    path = tmp_path / "report.html"
    write_report(path, title="Kết quả", sections=sections, subtitle="a < b")
    return path.read_text("utf-8")


def test_a_page_of_all_kinds_of_sections(tmp_path):
    svg = plots.curves({"a": ([0, 1], [1, 0]), "b": ([0, 1], [0, 1])}, x="bước", y="loss")
    html = page(
        tmp_path,
        Headline([Figure("Accuracy", "59.35 %", "of 10")]),
        Table("By type", ["type", "accuracy", "n"], [["màu", 0.5, 4], ["số", None, 2]], bars=[1]),
        Plots("Curves", [Plot(svg, "Loss", "falls")]),
        Note("How", "One.\n\nTwo.", preformatted=False),
        Note("Command", "make quickstart", preformatted=True),
        Gallery("Samples", [card(image=picture(0)), card("wrong", groups={"type": "màu"})]),
    )
    assert "<title>Kết quả</title>" in html
    assert "a &lt; b" in html
    assert "59.35 %" in html
    assert "width:50.0%" in html and "50.00 %" in html and "–" in html
    assert "<pre>make quickstart</pre>" in html
    assert html.count('<article class="card') == 2
    assert "bước" in html


def test_a_page_needs_nothing_from_outside(tmp_path):
    html = page(tmp_path, Gallery("Samples", [card(image=picture(0))]))
    assert re.findall(r'(?:src|href)="(?!data:)[^"]*"', html) == []
    assert "@import" not in html and "url(http" not in html


def test_answers_cannot_break_the_page(tmp_path):
    evil = "</script><img src=x onerror=alert(1)>\"'"
    html = page(tmp_path, Gallery("Samples", [card(answer=evil, groups={"type": evil})]))
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


def test_many_pictures_are_made_smaller(tmp_path, monkeypatch):
    gallery = Gallery("Samples", [card(image=picture(i)) for i in range(40)])
    large = len(page(tmp_path, gallery))
    monkeypatch.setattr(pictures, "MIN_SIDE", 8)
    monkeypatch.setattr(report, "embed", functools.partial(pictures.embed, most_bytes=1))
    assert len(page(tmp_path, gallery)) < large


def test_pictures_come_from_files_too(tmp_path):
    picture(1).resize((900, 300)).save(tmp_path / "a.png")
    html = page(tmp_path, Gallery("Samples", [card(image=tmp_path / "a.png")]))
    assert "--ratio:2.9907" in html or "--ratio:3.0" in html


def test_cells_show_shares_as_per_cent_and_counts_as_they_are():
    assert [cell(0.5), cell(3), cell(None), cell("a")] == ["50.00 %", "3", "–", "a"]


def test_misses_are_shown_first_and_right_answers_get_half():
    verdicts = ["right", "wrong"] * 50 + ["unparsed"] * 10
    chosen = choose(verdicts, 20)
    assert [verdicts[i] == "right" for i in chosen] == [False] * 10 + [True] * 10
    assert len(set(chosen)) == 20
    assert len(choose(["right"] * 30, 20)) == 20
    assert len(choose(["right"] * 3 + ["wrong"] * 30, 20)) == 20
    assert choose(["right", "wrong"], 20) == [1, 0]


def test_report_of_questions(tmp_path):
    predictions = [
        vqa_prediction("hai", "ba", type="1", question="mấy con mèo"),
        vqa_prediction("", "ba", type="1", question="mấy con chó"),
        vqa_prediction("đỏ", "đỏ", type="2", question="màu gì"),
    ]
    html = page(tmp_path, *evaluation_sections("vqa", score_vqa(predictions), predictions))
    assert "33.33 %" in html
    assert "Commonest mistakes" in html
    assert "By question type" in html
    assert "mấy con chó" in html
    assert 'data-verdict="unparsed"' in html


def test_report_of_parts(tmp_path):
    predictions = [
        part("cap/cut/0.png", said("cap", "defect", BOX), bbox=BOX, label=0.9),
        part("cap/good/0.png", "?"),
    ]
    metrics = score_detection(predictions)
    html = page(tmp_path, *evaluation_sections("detection", metrics, predictions))
    assert "By kind of defect" in html
    assert "Precision and recall" in html
    assert html.count('class="card unparsed"') == 1
    good_only = predictions[1:]
    metrics = score_detection(good_only)
    html = page(tmp_path, *evaluation_sections("detection", metrics, good_only))
    assert "nothing to draw" in html


def test_cards_say_what_was_asked_and_answered():
    drawn = detection_card(
        part("cap/cut/0.png", said("cap", "defect", (1, 2, 3, 4)), bbox=BOX, label=0.7), "wrong"
    )
    assert [(each.box, each.true) for each in drawn.boxes] == [(BOX, True), ((1, 2, 3, 4), False)]
    assert drawn.groups == {"object": "cap", "state": "cut"}
    assert drawn.confidence == 0.7
    good = detection_card(part("cap/good/0.png", said("cap", "not-defect")), "right")
    assert not good.boxes
    assert vqa_card(vqa_prediction("a", "b", question="gì"), "wrong").question == "gì"


def test_drawings_take_the_pages_colour_and_font():
    svg = plots.histogram({"đúng": [0.1, 0.9], "sai": [0.5]}, x="p")
    root = ElementTree.fromstring(svg)
    assert "width" not in root.attrib and "viewBox" in root.attrib
    assert "currentColor" in svg and "font-family: inherit" in svg
    assert "đúng" in svg and "DejaVu" not in svg and "#010203" not in svg
    assert svg == plots.histogram({"đúng": [0.1, 0.9], "sai": [0.5]}, x="p")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_runs_in_a_browser(tmp_path):
    cards = [card(image=picture(0)), card("wrong", answer="đường"), card("unparsed", answer="")]
    page(tmp_path, Gallery("Samples", cards))
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
         f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "report.html").as_uri()],
        capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    dom = done.stdout.decode("utf-8")
    assert "3 shown" in dom
    assert '<div class="controls">' in dom
    assert "đường" in dom

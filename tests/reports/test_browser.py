"""The page in a browser without network: the script runs, filters, and draws."""

import pytest
from pages import CHROMIUM, browse, page, read, texts
from PIL import Image
from scripted import picture

from minigpt4.reports.gallery import Card, Gallery
from minigpt4.reports.page import Figure, Headline

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    shared = picture(0)
    samples = [
        ("right", "đường phố", "place", shared, 0.9),
        ("wrong", "màu đỏ", "colour", shared, 0.8),
        ("wrong", "màu xanh", "colour", picture(1), 0.6),
        ("unparsed", "", "colour", None, 0.1),
    ]
    cards = [
        Card(
            image,
            "cái gì",
            answer,
            "ghế",
            verdict,
            {"type": kind},
            confidence,
            raw=f"<p>{answer}</p>",
            order=i,
        )
        for i, (verdict, answer, kind, image, confidence) in enumerate(samples)
    ]
    page(folder, Headline([Figure("Accuracy", "25 %")]), Gallery("Samples", cards, language="vi"))
    return folder


def shown(folder, address=""):
    root = read(browse(folder / "report.html", address, "--dump-dom"))
    assert "hidden" not in root.all(kind="controls")[0].attributes
    cards = [each for each in root.all("article") if "hidden" not in each.attributes]
    return texts(root.all("output"))[0], [texts(each.all("dd", kind="said"))[0] for each in cards]


def test_everything_is_shown_at_first(folder):
    counted, answers = shown(folder)
    assert counted == "4 of 4 shown"
    assert answers == ["đường phố", "màu đỏ", "màu xanh", "(empty)"]


def test_filters_sorting_and_search_work_together(folder):
    counted, answers = shown(folder, "#s1?verdict=wrong&type=colour&order=unsure&search=mau")
    assert counted == "2 of 4 shown"
    assert answers == ["màu xanh", "màu đỏ"]
    counted, answers = shown(folder, "#s1?search=duong")
    assert answers == ["đường phố"], "letters without marks find those with marks"
    counted, answers = shown(folder, "#s1?search=zzz&type=nothing")
    assert counted == "0 of 4 shown"


def test_a_shared_picture_is_there_for_all_its_samples(folder):
    root = read(browse(folder / "report.html", "", "--dump-dom"))
    sources = [each.all("img")[0].attributes["src"] for each in root.all("article")[:3]]
    assert sources[0] == sources[1] != sources[2]


def test_a_sample_opens_large_and_leads_to_the_next_that_is_shown(folder):
    clicks = """<script>
    document.querySelectorAll("article:not([hidden]) .enlarge")[0].click();
    for (const way of [1, 1]) document.querySelector(`dialog [data-by="${way}"]`).click();
    const back = new KeyboardEvent("keydown", {key: "ArrowLeft"});
    document.querySelector("dialog").dispatchEvent(back);
    </script>"""
    copy = folder / "clicked.html"
    copy.write_text((folder / "report.html").read_text("utf-8") + clicks, "utf-8")
    (dialog,) = read(browse(copy, "#s1?type=colour", "--dump-dom")).all("dialog")
    assert "open" in dialog.attributes
    assert texts(dialog.all("output")) == ["2 of 3"]
    assert texts(dialog.all("dd"))[0] == "màu xanh"
    assert texts(dialog.all("dd"))[-1] == "<p>màu xanh</p>"


def test_the_page_can_be_seen(folder):
    file = folder / "page.png"
    browse(folder / "report.html", "", f"--screenshot={file}", "--window-size=800,900")
    with Image.open(file) as image:
        assert image.size == (800, 900)
        colours = image.convert("RGB").getcolors(maxcolors=1 << 24)
    assert colours is not None and len(colours) > 100

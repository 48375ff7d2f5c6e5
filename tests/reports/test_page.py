"""The page: its sections, and that it holds everything it shows."""

import re

from pages import page, read, texts
from scripted import picture

from minigpt4.reports import plots
from minigpt4.reports.gallery import Card, Gallery
from minigpt4.reports.page import (
    Facts,
    Figure,
    Headline,
    Matrix,
    Note,
    Plot,
    Plots,
    Table,
    cell,
)

SVG = plots.curves({"a": ([0, 1], [1, 0]), "b": ([0, 1], [0, 1])}, x="bước", y="loss")
SECTIONS = [
    Headline([Figure("Accuracy", "59.35 %", "of 10", (0.5, 0.6875)), Figure("Empty", "0")]),
    Facts("What was run", {"checkpoint": "a.pth", "đường": "<b>"}),
    Table("By type", ["type", "accuracy", "n"], [["màu", 0.5, 4], ["số", None, 2]], bars=[1]),
    Matrix("Confusion", ["đỏ", "xanh"], ["đỏ", "xanh"], [[3, 1], [0, 2]], language="vi"),
    Plots("Curves", [Plot(SVG, "Loss", "falls")]),
    Note("How", "One.\n\nTwo."),
    Note("Command", "make quickstart", preformatted=True),
    Gallery("Samples", [Card(picture(0), "màu gì", "đỏ", "đỏ", "right")]),
]


def test_a_page_of_all_kinds_of_sections(tmp_path):
    html = page(tmp_path, *SECTIONS)
    root = read(html)
    assert "<title>Kết quả</title>" in html
    assert "a &lt; b" in html
    kinds = [each.attributes["class"] for each in root.all("section")]
    assert kinds == [section.kind for section in SECTIONS]
    links = root.all("nav")[0].all("a")
    assert texts(links) == [section.title for section in SECTIONS[1:]]
    ids = {each.attributes["id"] for each in root.all("section")}
    assert all(link.attributes["href"][1:] in ids for link in links)
    assert "width:50.0%" in html and "50.00 %" in html and "–" in html
    assert "<pre>make quickstart</pre>" in html
    assert "bước" in html


def test_a_figure_shows_its_interval(tmp_path):
    sure, plain = read(page(tmp_path, SECTIONS[0])).all(kind="figure")
    assert texts(sure.all(kind="interval")) == ["50.00 – 68.75 %"]
    assert plain.all(kind="interval") == []


def test_facts_are_folded_away_and_escaped(tmp_path):
    html = page(tmp_path, SECTIONS[1])
    (details,) = read(html).all("details")
    assert "open" not in details.attributes
    assert texts(details.all("dd")) == ["a.pth", "<b>"]
    assert "<b>" not in html


def test_a_matrix_shades_rows_by_their_shares(tmp_path):
    (table,) = read(page(tmp_path, SECTIONS[3])).all("table", kind="counts")
    assert table.attributes["lang"] == "vi"
    assert texts(table.all("th", scope="row")) == ["đỏ", "xanh"]
    cells = [each for each in table.all("td") if not each.has(kind="corner")]
    assert texts(cells) == ["3", "1", "", "2"]
    assert [each.attributes.get("style") for each in cells] == [
        "--share:0.75", "--share:0.25", None, "--share:1.0"
    ]  # fmt: skip
    assert [each.has(kind="same") for each in cells] == [True, False, False, True]


def test_a_page_needs_nothing_from_outside(tmp_path):
    html = page(tmp_path, *SECTIONS)
    root = read(html)
    for each in root.all():
        for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            assert re.match(r"data:|#|$", each.attributes.get(name, "")), each.attributes
        assert each.tag not in ("link", "iframe", "object", "base")
    rest = re.sub(r'xmlns(:xlink)?="[^"]*"', "", html)
    assert (
        "http:" not in rest
        and "https:" not in rest
        and "//" not in re.sub(r"data:image/jpeg;base64,[\w+/=]*|(?m:^\s*// .*$)", "", rest)
    )
    assert "@import" not in html and "url(http" not in html
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|import)\s*\(", html)


def test_cells_show_shares_as_per_cent_and_counts_as_they_are():
    assert [cell(0.5), cell(3), cell(None), cell("a")] == ["50.00 %", "3", "–", "a"]

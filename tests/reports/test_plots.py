"""Drawings: well-formed SVG in the page's own colours."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from minigpt4.reports import plots

BINS = [
    {"low": 0.0, "high": 0.5, "confidence": 0.3, "accuracy": 0.25, "count": 4},
    {"low": 0.5, "high": 1.0, "confidence": None, "accuracy": None, "count": 0},
]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.histogram({"đúng": [0.1, 0.9], "sai": [0.5]}, x="p"),
        lambda: plots.curves({"đúng": ([0, 1], [0, 1])}, x="đúng", y="y", diagonal=True),
        lambda: plots.shares({"đúng": 0.4, "sai": 0.5}, x="p", intervals={"sai": [0.4, 0.6]}),
        lambda: plots.reliability(BINS).replace("answers", "đúng"),
    ],
    ids=["histogram", "curves", "shares", "reliability"],
)
def test_drawings_take_the_pages_colour_and_font(draw):
    svg = draw()
    root = ElementTree.fromstring(svg)
    assert "width" not in root.attrib and "viewBox" in root.attrib
    assert "currentColor" in svg and "font-family: inherit" in svg
    assert "đúng" in svg and "DejaVu" not in svg and "#010203" not in svg
    assert svg == draw()


def test_whiskers_are_drawn_where_there_are_intervals():
    without = plots.shares({"a": 0.5, "b": 0.5}, x="p")
    half = plots.shares({"a": 0.5, "b": 0.5}, x="p", intervals={"a": [0.4, 0.6]})
    both = plots.shares({"a": 0.5, "b": 0.5}, x="p", intervals={"a": [0.4, 0.6], "b": [0, 1]})
    assert len(without) < len(half) < len(both)


def test_a_bin_without_answers_is_left_out():
    filled = plots.reliability(BINS[:1])
    assert re.search(r">4</text>", filled)
    assert plots.reliability(BINS).count("</text>") == filled.count("</text>")

"""Writes pages, reads their HTML, and opens them in Chromium."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from minigpt4.reports.page import write_report

CHROMIUM = shutil.which("chromium")
_VOID = {"meta", "img", "input", "br", "link", "path", "use"}


@dataclass
class Element:
    """One element of a page, with its own text and that of everything in it."""

    tag: str
    attributes: dict[str, str]
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, tag: str = "", **wanted: str) -> list[Element]:
        """Elements below with this tag and these attributes; ``kind`` is one of the classes."""
        found = []
        for child in self.children:
            if (not tag or child.tag == tag) and child.has(**wanted):
                found.append(child)
            found += child.all(tag, **wanted)
        return found

    def has(self, **wanted: str) -> bool:
        kind = wanted.pop("kind", None)
        if kind is not None and kind not in self.attributes.get("class", "").split():
            return False
        return all(
            self.attributes.get(name.replace("_", "-")) == value for name, value in wanted.items()
        )


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("", {})]

    def handle_starttag(self, tag, attrs):
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)

    def handle_endtag(self, tag):
        if tag in _VOID:
            return
        closed = self.open.pop()
        assert closed.tag == tag, f"<{closed.tag}> is closed by </{tag}>"

    def handle_data(self, data):
        for each in self.open:
            each.text += data


def read(html: str) -> Element:
    """The elements of a page; every one must be closed where it should be."""
    reader = _Reader()
    reader.feed(html)
    (root,) = reader.open
    return root


def page(folder: Path, *sections, title: str = "Kết quả", subtitle: str = "a < b") -> str:
    """Write a page and give its text."""
    path = folder / "report.html"
    write_report(path, title=title, sections=sections, subtitle=subtitle)
    return path.read_text("utf-8")


def browse(path: Path, address: str, *options: str) -> str:
    """What Chromium makes of a page; it cannot reach any network meanwhile."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000",
        "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={path.parent / 'profile'}",
        *options, path.as_uri() + address,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, timeout=120, check=True)
    return done.stdout.decode("utf-8")


def texts(elements: Sequence[Element]) -> list[str]:
    """Their texts, without white space around."""
    return [" ".join(each.text.split()) for each in elements]

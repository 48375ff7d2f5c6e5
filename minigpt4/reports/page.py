"""Reports: one HTML page that holds everything it shows and opens without a network.

A page is a title and a list of sections: ``Headline``, ``Table``, ``Plots``, ``Gallery``, ``Note``.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from minigpt4.common.boxes import Box
from minigpt4.common.files import write_text
from minigpt4.common.metrics import percent

if TYPE_CHECKING:
    from PIL import Image

Verdict = Literal["right", "wrong", "unparsed"]

_TEMPLATES = Path(__file__).parent / "templates"
_SIDE = 320
"""Longest side of an embedded picture, in pixels."""
_QUALITY = 80
_LABEL_ROOM = 11
"""Height of a box's label, in hundredths of a picture as it is shown."""
MAX_PICTURE_BYTES = 10_000_000
"""Pictures of a page are made smaller until they fit into this together, before base64."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One headline number, with what it is and what to compare it to."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Headline:
    """The numbers that a reader came for."""

    kind: ClassVar[str] = "headline"
    figures: Sequence[Figure]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text and numbers.

    Attributes:
        bars: Columns of shares (0 to 1) that are drawn as bars as well; shares show as per cent.
        note: What a reader must know to read it.
    """

    kind: ClassVar[str] = "table"
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    bars: Sequence[int] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing as SVG text, see ``minigpt4.reports.plots``, and what it shows."""

    svg: str
    title: str
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Plots:
    """Drawings side by side."""

    kind: ClassVar[str] = "plots"
    title: str
    plots: Sequence[Plot]


@dataclass(frozen=True, slots=True)
class Note:
    """Paragraphs of plain text, or lines of a command's output."""

    kind: ClassVar[str] = "note"
    title: str
    text: str
    preformatted: bool = False


@dataclass(frozen=True, slots=True)
class DrawnBox:
    """A box over a picture, 0-100; ``true`` boxes and answered ones are drawn differently."""

    box: Box
    label: str
    true: bool

    @property
    def label_place(self) -> str:
        """Where the label has room and hides little: CSS classes.

        True boxes have it above and answered ones below, so that the two of a good answer do not
        cover each other.
        """
        left, top, _, bottom = self.box
        free = {"above": top >= _LABEL_ROOM, "below": bottom <= 100 - _LABEL_ROOM}
        order = ("above", "below") if self.true else ("below", "above")
        upright = next((place for place in order if free[place]), "inside")
        return f"{upright} {'from-right' if left > 65 else 'from-left'}"


@dataclass(frozen=True, slots=True)
class Card:
    """One sample of a gallery.

    Attributes:
        picture: File or picture; None shows none.
        question: What was asked.
        answer: What the model said.
        reference: What is right.
        verdict: What the answer is worth.
        groups: What a reader can filter by: ``{"type": "colour"}``.
        confidence: The answer's probability.
        boxes: Drawn over the picture.
    """

    picture: Path | Image.Image | None
    question: str
    answer: str
    reference: str
    verdict: Verdict
    groups: Mapping[str, str] = field(default_factory=dict)
    confidence: float | None = None
    boxes: Sequence[DrawnBox] = ()


@dataclass(frozen=True, slots=True)
class Gallery:
    """Samples with their pictures, filtered by buttons."""

    kind: ClassVar[str] = "gallery"
    title: str
    cards: Sequence[Card]
    note: str = ""

    def counts(self) -> dict[str, int]:
        """Cards of each verdict."""
        verdicts = [card.verdict for card in self.cards]
        return {each: verdicts.count(each) for each in ("wrong", "unparsed", "right")}

    def choices(self) -> dict[str, list[str]]:
        """Values of each group."""
        found: dict[str, set[str]] = {}
        for card in self.cards:
            for name, value in card.groups.items():
                found.setdefault(name, set()).add(value)
        return {name: sorted(values) for name, values in found.items() if len(values) > 1}


Section = Headline | Table | Plots | Note | Gallery


def write_report(
    path: Path, *, title: str, sections: Sequence[Section], subtitle: str = ""
) -> None:
    """Write a page.

    Args:
        path: The HTML file; replaced whole.
        title: Its heading.
        sections: What it shows, in order.
        subtitle: A line below the heading: what was run, on what.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from minigpt4.common.checkpoint import save_atomic

    cards = [card for each in sections if isinstance(each, Gallery) for card in each.cards]
    pictures = _embed([card.picture for card in cards])
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = cell
    environment.tests["numeric"] = _is_numeric
    page = environment.get_template("report.html.j2").render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        pictures={id(card): source for card, source in zip(cards, pictures, strict=True)},
        identity=id,
    )
    save_atomic(path, lambda temporary: write_text(temporary, page))


def cell(value: Any) -> str:
    """A value as a table shows it: shares as per cent, None as a dash."""
    if value is None:
        return "–"
    return percent(value) if isinstance(value, float) else str(value)


def _is_numeric(table: Table, column: int) -> bool:
    values = [row[column] for row in table.rows if row[column] is not None]
    return bool(values) and all(isinstance(value, (int, float)) for value in values)


@dataclass(frozen=True, slots=True)
class _Embedded:
    """A picture as the page holds it: a data URI, and width by height."""

    source: str
    ratio: float


def _embed(pictures: Sequence[Path | Image.Image | None]) -> list[_Embedded | None]:
    """Encode each different picture once, smaller when they are too many."""
    from minigpt4.datasets.pictures import load_picture

    keys = [str(each) if isinstance(each, Path) else each and id(each) for each in pictures]
    opened: dict[Any, Image.Image] = {}
    for key, each in zip(keys, pictures, strict=True):
        if each is not None and key not in opened:
            picture = load_picture(str(each)) if isinstance(each, Path) else each.convert("RGB")
            picture.thumbnail((_SIDE, _SIDE))
            opened[key] = picture
    side, quality = _SIDE, _QUALITY
    while True:
        encoded = {key: _jpeg(each, side, quality) for key, each in opened.items()}
        # Samples that share a picture each carry it.
        total = sum(len(encoded[key]) for key in keys if key is not None)
        if total <= MAX_PICTURE_BYTES or side <= 64:
            break
        side, quality = int(side * 0.8), max(60, quality - 5)
    made = {
        key: _Embedded(
            f"data:image/jpeg;base64,{base64.b64encode(data).decode()}",
            round(opened[key].width / opened[key].height, 4),
        )
        for key, data in encoded.items()
    }
    return [None if key is None else made[key] for key in keys]


def _jpeg(picture: Image.Image, side: int, quality: int) -> bytes:
    small = picture.copy()
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=quality, optimize=True)
    return buffer.getvalue()

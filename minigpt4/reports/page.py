"""Reports: one HTML page that holds everything it shows and opens without a network.

A page is a title and a list of sections: ``Headline``, ``Facts``, ``Table``, ``Matrix``, ``Plots``,
``Note``, ``Gallery`` (in ``minigpt4.reports.gallery``), ``FindingList`` and
``TokenStrips``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from minigpt4.common.files import save_atomic, write_text
from minigpt4.common.metrics import percent
from minigpt4.reports.finding_list import FindingList
from minigpt4.reports.gallery import Card, DrawnBox, Gallery
from minigpt4.reports.pictures import embed
from minigpt4.reports.token_strips import TokenStrips

__all__ = [
    "Card",
    "DrawnBox",
    "Facts",
    "Figure",
    "Gallery",
    "Headline",
    "Interval",
    "Matrix",
    "Note",
    "Plot",
    "Plots",
    "Section",
    "Table",
    "cell",
    "write_report",
]

_TEMPLATES = Path(__file__).parent / "templates"

Interval = Sequence[float]
"""Low and high end of a 95 % interval, as shares."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One headline number, with how sure it is, what it is and what to compare it to."""

    label: str
    value: str
    note: str = ""
    interval: Interval | None = None

    @property
    def range(self) -> str:
        """The interval as text; empty where there is none."""
        if self.interval is None:
            return ""
        low, high = self.interval
        return f"{low * 100:.2f} – {high * 100:.2f} %"


@dataclass(frozen=True, slots=True)
class Headline:
    """The numbers that a reader came for."""

    kind: ClassVar[str] = "headline"
    figures: Sequence[Figure]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and what they stand for, folded away behind the title until a reader asks."""

    kind: ClassVar[str] = "facts"
    title: str
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text and numbers.

    Attributes:
        bars: Columns of shares (0 to 1) that are drawn as bars as well; shares show as per cent.
        note: What a reader must know to read it.
        language: Of the text in its cells, as in HTML's ``lang``; empty for the page's.
    """

    kind: ClassVar[str] = "table"
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    bars: Sequence[int] = ()
    note: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Counts of what was true against what was said, each row shaded by its shares.

    Attributes:
        names: Of the rows: what is true.
        columns: Of the columns: what was said. A name that both have is a right answer.
        counts: (rows, columns).
        note: What a reader must know to read it.
        language: Of the names; empty for the page's.
    """

    kind: ClassVar[str] = "matrix"
    title: str
    names: Sequence[str]
    columns: Sequence[str]
    counts: Sequence[Sequence[int]]
    note: str = ""
    language: str = ""

    def share(self, row: int, column: int) -> float:
        """Of the row's samples, those in the column."""
        return self.counts[row][column] / (sum(self.counts[row]) or 1)


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


Section = Headline | Facts | Table | Matrix | Plots | Note | Gallery | FindingList | TokenStrips


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

    cards = [card for each in sections if isinstance(each, Gallery) for card in each.cards]
    pictures = embed([card.picture for card in cards])
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
        pictures={id(card): picture for card, picture in zip(cards, pictures, strict=True)},
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

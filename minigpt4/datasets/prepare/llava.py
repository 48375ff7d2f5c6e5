"""LLaVA's conversations to rows of questions and answers, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minigpt4.common.errors import DataError
from minigpt4.common.files import write_json
from minigpt4.datasets.readers import read_table

_PLACEHOLDER = "<image>"
_ASKS, _ANSWERS = ("human", "user"), ("gpt", "assistant")
_SYSTEM = "system"
Row = dict[str, Any]


def rows_of_conversations(source: Path) -> list[Row]:
    """A row for each question: ``image``, ``question``, ``answer``, ``conversation``, ``turn``.

    Args:
        source: A list of ``{id, image, conversations: [{from, value}]}``; chats that say
            ``messages: [{role, content}]`` are understood too. A system's words are left out.

    Raises:
        DataError: A conversation is none; names its row.
    """
    table = read_table([str(source)])
    rows = []
    for number, entry in enumerate(table.rows(table.names)):
        turns = _turns(entry, table.place(number))
        name = entry.get("id")
        for turn, (question, answer) in enumerate(zip(turns[::2], turns[1::2], strict=True)):
            row = {
                "conversation": number if name is None else name,
                "turn": turn,
                "question": question.replace(_PLACEHOLDER, "").strip(),
                "answer": answer,
            }
            rows.append({"image": entry["image"], **row} if entry.get("image") else row)
    return rows


def conversations_of_rows(source: Path) -> list[Row]:
    """Rows of questions and answers as LLaVA's conversations.

    Rows with one ``conversation`` become its turns, in the order of ``turn`` or else of the file;
    rows without it are conversations of their own. The first question of one about a picture holds
    ``<image>``.

    Raises:
        DataError: A row lacks its question or answer.
    """
    table = read_table([str(source)])
    groups: dict[Any, list[Row]] = {}
    for number, row in enumerate(table.rows(table.names)):
        if not row.get("question") or not row.get("answer"):
            raise DataError(f"{table.place(number)}: it needs question and answer.")
        key = row.get("conversation")
        groups.setdefault((number,) if key is None else key, []).append(row)
    found = []
    for number, (key, rows) in enumerate(groups.items()):
        rows = sorted(rows, key=lambda row: int(row.get("turn") or 0))
        image = rows[0].get("image")
        turns = []
        for place, row in enumerate(rows):
            mark = f"{_PLACEHOLDER}\n" if image and place == 0 else ""
            turns += [
                {"from": "human", "value": f"{mark}{row['question']}"},
                {"from": "gpt", "value": str(row["answer"])},
            ]
        name = number if isinstance(key, tuple) else key
        found.append({"id": name, **({"image": image} if image else {}), "conversations": turns})
    return found


def convert(source: Path, out: Path, *, back: bool) -> int:
    """Convert a file, and say how many entries were written."""
    entries = conversations_of_rows(source) if back else rows_of_conversations(source)
    write_json(out, entries)
    return len(entries)


def _turns(entry: Mapping[str, Any], place: str) -> list[str]:
    turns = entry.get("conversations") or entry.get("messages")
    if not isinstance(turns, list):
        raise DataError(f"{place}: it has no conversations.")
    said: list[str] = []
    for turn in turns:
        if not isinstance(turn, Mapping):
            raise DataError(f"{place}: a turn is not {{from, value}}.")
        who = turn.get("from", turn.get("role"))
        what = turn.get("value", turn.get("content"))
        if who == _SYSTEM:
            continue
        if who not in (_ASKS, _ANSWERS)[len(said) % 2] or not isinstance(what, str):
            raise DataError(f"{place}: turn {len(said)} is from {who!r}; they must take turns.")
        said.append(what)
    if not said or len(said) % 2:
        raise DataError(f"{place}: the last of its {len(said)} turns has no answer.")
    return said

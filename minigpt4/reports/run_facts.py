"""What made an evaluation, for the head of its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minigpt4.reports.page import Facts, Note, Section

_NAMES = {
    "ckpt": "checkpoint",
    "eval_file": "data",
    "folder": "working folder",
    "samples": "samples",
    "blank": "pictures blanked",
    "prompt_style": "prompts",
    "decoding": "decoding",
    "llama_model": "language model",
    "vit_model": "image encoder",
    "arch": "architecture",
    "score_options": "scoring",
    "overlap": "overlap with training",
    "key": "key of model, data and decoding",
    "data_key": "key of the data",
    "version": "version",
    "time": "begun",
}
_LEFT_OUT = ("identity", "baselines", "name", "kind")
"""Not facts of their own: the first is what the key is made of, baselines have their own table."""
_LISTED = 6
"""Of a list, such as the answers that may be given."""


def describe_run(run: Mapping[str, Any]) -> str:
    """One line about what was run, on what."""
    parts = [
        "pictures blanked" if run.get("blank") else "",
        run.get("ckpt") or "no checkpoint",
        run.get("eval_file") or "",
        f"{run['samples']} samples" if "samples" in run else "",
        f"{_decoding(run)} decoding" if _decoding(run) else "",
        f"prompts in {run['prompt_style']} style" if run.get("prompt_style") else "",
        run.get("time") or "",
    ]
    return " · ".join(str(part) for part in parts if part)


def run_sections(run: Mapping[str, Any], answered: int) -> list[Section]:
    """Everything that is known of a run, folded away, and whether it was finished.

    Args:
        run: The first line of a file of predictions.
        answered: How many predictions there are.
    """
    names = [
        *(name for name in _NAMES if name in run),
        *(name for name in run if name not in _NAMES),
    ]
    facts = {
        _NAMES.get(name, name.replace("_", " ")): text
        for name in names
        if name not in _LEFT_OUT and (text := _text(run[name]))
    }
    sections: list[Section] = [Facts("What was run", facts)] if facts else []
    if answered < run.get("samples", 0):
        text = (
            f"{answered} of {run['samples']} samples are answered; all figures are of these only."
        )
        sections.insert(0, Note("Not finished", text))
    return sections


def _decoding(run: Mapping[str, Any]) -> str:
    decoding = run.get("decoding")
    if isinstance(decoding, Mapping):
        decoding = decoding.get("mode")
    return str(decoding or "")


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(
            f"{name.replace('_', ' ')} {text}"
            for name, each in value.items()
            if (text := _text(each))
        )
    if isinstance(value, Sequence) and not isinstance(value, str):
        shown = ", ".join(_text(each) for each in value[:_LISTED])
        more = len(value) - _LISTED
        return f"{shown} and {more} more" if more > 0 else shown
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)

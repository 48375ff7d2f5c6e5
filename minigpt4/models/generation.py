"""Answers from the language model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Generation:
    """One answer."""

    text: str
    token_ids: list[int]
    logprobs: list[float]
    finished: bool


def generate_answers() -> None:
    """Placeholder of the first working version."""

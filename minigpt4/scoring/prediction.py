"""One answered sample, and all that scoring and reports need of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

Spans = Callable[[str], Mapping[str, tuple[int, int]]]
"""Names parts of an answer by their character positions (start, end)."""


@dataclass(slots=True, kw_only=True)
class Prediction:
    """One answer of a model.

    Attributes:
        id: The sample's.
        answer: As the model gave it.
        finished: The model ended its answer itself; it was not cut at the length limit.
        probability: Of the whole answer: the product over its tokens, its end included.
        probabilities: Of its named parts, such as ``label``.
        question: The instruction without the chat template and the picture's place.
        reference: The answer that training would ask for.
        image_path: The picture's file; None where none was shown.
        picture: Which picture the sample is about, the same for all samples of a picture, also
            where it was blanked; empty for text.
        meta: The sample's, see the data set.
        tries: Times it was sampled again because the answer could not be read.
        steps: Passes through the language model that the answer took, the prompt's included.
    """

    id: str
    answer: str
    finished: bool
    probability: float
    probabilities: dict[str, float] = field(default_factory=dict)
    question: str = ""
    reference: str = ""
    image_path: str | None = None
    picture: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    tries: int = 0
    steps: int = 0

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """A prediction of its line in a file; what this version does not know is left out.

        Raises:
            TypeError: Something is missing or of another type.
        """
        known = {each.name for each in fields(cls)}
        made = cls(**{name: value for name, value in row.items() if name in known})
        for value, kind in (
            (made.id, str), (made.answer, str), (made.meta, dict), (made.probabilities, dict),
            (made.probability, (int, float)),
        ):  # fmt: skip
            if not isinstance(value, kind):
                raise TypeError(f"{value!r} is not of type {kind}")
        return made

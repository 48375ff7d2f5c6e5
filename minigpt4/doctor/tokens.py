"""What the language model gets to see: lengths, cuts, unknown characters, the loss mask."""

from __future__ import annotations

import array
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from minigpt4.common.errors import UserError
from minigpt4.common.settings import ModelSettings
from minigpt4.conversation.prompts import split_at_images, training_turns
from minigpt4.datasets.collate import collate
from minigpt4.datasets.schema import Sample
from minigpt4.doctor.findings import Finding, Place, some
from minigpt4.doctor.patients import Patient
from minigpt4.reports.token_strips import Token

if TYPE_CHECKING:
    from minigpt4.models.tokenizer import LlmTokenizer

_UNKNOWN = "<unk>"
_REMEMBERED = 1 << 16


@dataclass(frozen=True, slots=True)
class Spelling:
    """How the configured model turns samples into tokens.

    Attributes:
        tokenizer: The language model's.
        settings: Section ``model``.
        positions: Positions of one picture.
    """

    tokenizer: LlmTokenizer
    settings: ModelSettings
    positions: int

    @classmethod
    def load(cls, settings: ModelSettings) -> Spelling:
        """Load the tokenizer, without any weights.

        Raises:
            UserError: It cannot be had.
        """
        from minigpt4.models.hub import locate
        from minigpt4.models.llm import load_tokenizer
        from minigpt4.models.vision.positions import picture_positions

        tokenizer = load_tokenizer(locate(settings.llama_model))
        return cls(tokenizer, settings, picture_positions(settings))

    def for_role(self, role: str) -> Spelling:
        """The same for training or for tests, whose prompts always have the chat template."""
        if role == "train":
            return self
        return replace(self, settings=replace(self.settings, chat_template=True))

    def turns(self, sample: Sample) -> tuple[list[str], list[str]]:
        """A sample's prompts and answers, as the language model sees them."""
        (turns,) = training_turns(
            collate([sample]),
            template=self.settings.prompt_template,
            chat_template=self.settings.chat_template,
        )
        return turns

    def tokens(self, sample: Sample) -> list[Token]:
        """A sample's training sequence token by token, cut as in training."""
        from minigpt4.models.sequence import IGNORE, SequenceBuilder

        builder = SequenceBuilder(
            self.tokenizer,
            max_txt_len=self.settings.max_txt_len,
            max_context_len=self.settings.max_context_len,
            end_sym=self.settings.end_sym,
        )
        prompts, answers = self.turns(sample)
        images = len(split_at_images(prompts[0])) - 1
        layout = builder.training(prompts, answers, images, self.positions)
        shown: list[Token] = []
        slots = 0
        for token, label in zip([*layout.ids, 0], [*layout.labels, IGNORE], strict=True):
            if token < 0:
                slots += 1
                continue
            if slots:
                shown.append(Token(f"picture × {slots}", None, in_loss=False))
                slots = 0
            shown.append(Token(self.tokenizer.piece(token), token, label != IGNORE))
        return shown[:-1]


class TokenCheck:
    """Measures every sample's prompt and answer in tokens.

    Attributes:
        prompts: Length of each sample's first prompt without BOS, as ``max_context_len`` counts.
        answers: Length of its answers, end symbols and later prompts included, as ``max_txt_len``
            counts.
    """

    def __init__(self, patient: Patient, spelling: Spelling) -> None:
        self._patient = patient
        self._spelling = spelling
        self._numbers = array.array("q")
        self._prompts = array.array("i")
        self._answers = array.array("i")
        self._unknown: list[Place] = []
        self._too_long_to_say: list[Place] = []
        unknown = spelling.tokenizer.id_of(_UNKNOWN)
        encode = spelling.tokenizer.encode

        @lru_cache(_REMEMBERED)
        def measure(text: str) -> tuple[int, bool]:
            ids = encode(text)
            return len(ids), unknown is not None and unknown in ids

        self._measure = measure

    @property
    def prompts(self) -> NDArray[np.int32]:
        """Lengths of prompts, shape (samples,)."""
        return np.array(self._prompts, dtype=np.int32)

    @property
    def answers(self) -> NDArray[np.int32]:
        """Lengths of answers, shape (samples,)."""
        return np.array(self._answers, dtype=np.int32)

    def look(self, number: int, row: Mapping[str, Any], sample: Sample) -> None:
        """Measure one sample."""
        prompts, answers = self._spelling.turns(sample)
        first = [self._measure(piece) for piece in split_at_images(prompts[0])]
        end = self._spelling.settings.end_sym
        said = [self._measure(answer + end) for answer in answers]
        later = [self._measure(prompt) for prompt in prompts[1:]]
        self._numbers.append(number)
        self._prompts.append(
            sum(length for length, _ in first) + (len(first) - 1) * self._spelling.positions
        )
        # A later prompt has a BOS of its own.
        self._answers.append(sum(length for length, _ in said) + sum(n + 1 for n, _ in later))
        if any(unknown for _, unknown in (*first, *said, *later)):
            self._unknown.append(self._patient.place(number, _shown(sample)))
        most = self._patient.max_new_tokens
        if most is not None and said[-1][0] > most:
            what = f"{said[-1][0]} tokens: {answers[-1][:60]!r}"
            self._too_long_to_say.append(self._patient.place(number, what))

    def cut(self) -> dict[str, int]:
        """How many samples are cut, by what cuts them."""
        settings = self._spelling.settings
        return {
            "prompts_cut": int((self.prompts > settings.max_context_len).sum()),
            "answers_cut": int((self.answers > settings.max_txt_len).sum()),
        }

    def findings(self) -> list[Finding]:
        """What was found."""
        settings = self._spelling.settings
        found = self._over(
            self.prompts, settings.max_context_len, "prompts_cut", "prompt", "max_context_len"
        )
        if self._patient.role == "train":
            found += self._over(
                self.answers, settings.max_txt_len, "answers_cut", "answer", "max_txt_len"
            )
        if self._too_long_to_say:
            found.append(
                self._finding(
                    "answer_too_long_to_say",
                    f"{some(len(self._too_long_to_say), 'answer is', 'answers are')} longer than "
                    f"max_new_tokens ({self._patient.max_new_tokens}), so that no model can be "
                    "right.",
                    f"Raise {self._patient.key}.max_new_tokens.",
                    self._too_long_to_say,
                )
            )
        if self._unknown:
            found.append(
                self._finding(
                    "unknown_tokens",
                    f"{some(len(self._unknown), 'sample holds', 'samples hold')} characters that "
                    "the language model's vocabulary does not have.",
                    "The model cannot tell them apart: write them otherwise, or use another "
                    "language model.",
                    self._unknown,
                )
            )
        return found

    def _over(
        self, lengths: NDArray[np.int32], most: int, code: str, what: str, key: str
    ) -> list[Finding]:
        over = np.flatnonzero(lengths > most).tolist()
        if not over:
            return []
        places = [
            self._patient.place(self._numbers[index], f"{lengths[index]} tokens") for index in over
        ]
        return [
            self._finding(
                code,
                f"{some(len(over), f'{what} is', f'{what}s are')} longer than {key} ({most}) and "
                f"cut; the longest has {int(lengths.max()):,} tokens.",
                f"Raise model.{key}, or shorten them.",
                places,
            )
        ]

    def _finding(self, code: str, summary: str, remedy: str, places: list[Place]) -> Finding:
        return Finding(
            code=code,
            severity=self._patient.severity("warning"),
            dataset=self._patient.label,
            summary=summary,
            remedy=remedy,
            places=places,
            figures={"rows": len(places)},
        )


def _shown(sample: Sample) -> str:
    turn = sample.turns[0]
    return f"{turn.instruction[-60:].strip()!r} → {turn.answer[:60]!r}"


def spelling_or_note(settings: ModelSettings) -> tuple[Spelling | None, list[Finding]]:
    """The tokenizer, or why nothing is said about tokens."""
    try:
        return Spelling.load(settings), []
    except (UserError, OSError, ImportError) as error:
        return None, [
            Finding(
                code="no_tokenizer",
                severity="note",
                dataset="model.llama_model",
                summary=f"Token lengths are not checked: {error}",
                remedy="Name a folder with the model's tokenizer in --options model.llama_model, "
                "or go online with access to it.",
                places=[Place("model.llama_model", None, settings.llama_model)],
            )
        ]

"""What turns plain text into ids: a sentencepiece model, or a tokenizer of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from minigpt4.common.errors import WeightsError


class Backend(Protocol):
    """What ``LlmTokenizer`` needs of either kind."""

    size: int
    """Number of token ids."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text in which no special token is meant."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids."""

    def piece(self, token_id: int) -> str:
        """How the vocabulary spells a token."""

    def id_of(self, piece: str) -> int | None:
        """The id of a spelling, or None."""


class SentencePieceBackend:
    """A ``tokenizer.model`` and the tokens added beyond it.

    Args:
        path: The sentencepiece model.
        added: Further tokens and their ids.
    Raises:
        WeightsError: The file is no sentencepiece model.
    """

    def __init__(self, path: Path, added: dict[str, int]) -> None:
        import sentencepiece

        try:
            self._model: Any = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError) as error:
            raise WeightsError(
                f"{path} is not a sentencepiece model: download it again."
            ) from error
        self._added = added
        self._added_pieces = {token_id: piece for piece, token_id in added.items()}
        self._pieces: int = self._model.get_piece_size()
        self.size = max([self._pieces, *(token_id + 1 for token_id in added.values())])

    def encode(self, text: str) -> list[int]:
        """Ids of a text, which sentencepiece gives its prefix space."""
        ids: list[int] = self._model.encode(text)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids: added tokens and the runs of pieces between them, joined by spaces."""
        parts: list[str] = []
        run: list[int] = []
        for token_id in ids:
            if token_id in self._added_pieces:
                parts += [self._model.decode(run)] if run else []
                parts.append(self._added_pieces[token_id])
                run = []
            elif token_id < self._pieces:  # a model may have more rows than its tokenizer
                run.append(token_id)
        parts += [self._model.decode(run)] if run else []
        return " ".join(parts)

    def piece(self, token_id: int) -> str:
        """How the vocabulary spells a token; empty for a row without one."""
        if token_id in self._added_pieces:
            return self._added_pieces[token_id]
        return str(self._model.id_to_piece(token_id)) if token_id < self._pieces else ""

    def id_of(self, piece: str) -> int | None:
        """The id of a spelling, or None."""
        if piece in self._added:
            return self._added[piece]
        token_id: int = self._model.piece_to_id(piece)
        return token_id if self._model.id_to_piece(token_id) == piece else None


class TransformersBackend:
    """A tokenizer of transformers, for models without ``tokenizer.model``."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.size = len(tokenizer)

    def encode(self, text: str) -> list[int]:
        """Ids of a text; special tokens within it become their ids."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids."""
        return str(self._tokenizer.decode(ids, clean_up_tokenization_spaces=False))

    def piece(self, token_id: int) -> str:
        """How the vocabulary spells a token; empty for a row without one."""
        return self._tokenizer.convert_ids_to_tokens(token_id) or ""

    def id_of(self, piece: str) -> int | None:
        """The id of a spelling, or None."""
        return self._tokenizer.get_vocab().get(piece)

"""What turns plain text into ids: a sentencepiece model, or a tokenizer of transformers."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

from minigpt4.common.errors import WeightsError

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
"""How sentencepiece spells a space; a vocabulary that has it came from there."""
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
Spelling = Literal["sentencepiece", "bytes", "unknown"]


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

    def spelling(self, token_id: int) -> bytes | None:
        """What a token adds to a text; None if it is no plain text or that is not known."""


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

    def spelling(self, token_id: int) -> bytes | None:
        """What a token adds to a text; None for control symbols and tokens added beyond."""
        if token_id >= self._pieces or token_id in self._added_pieces:
            return None
        model = self._model
        if model.is_control(token_id) or model.is_unknown(token_id) or model.is_unused(token_id):
            return None
        piece = str(model.id_to_piece(token_id))
        if model.is_byte(token_id):
            return bytes.fromhex(piece[3:5])
        return piece.replace(SPACE, " ").encode()


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

    def spelling(self, token_id: int) -> bytes | None:
        """What a token adds to a text; None for special tokens, or if that is not known."""
        added = self._tokenizer.added_tokens_decoder.get(token_id)
        if added is not None:
            return None if added.special else str(added.content).encode()
        piece = self.piece(token_id)
        if self._spelled == "bytes":
            table = _bytes_of_characters()
            known = all(character in table for character in piece)
            return bytes(table[character] for character in piece) if known else None
        if self._spelled == "sentencepiece":
            byte = _BYTE.fullmatch(piece)
            return bytes.fromhex(byte[1]) if byte else piece.replace(SPACE, " ").encode()
        return None

    @cached_property
    def _spelled(self) -> Spelling:
        """How pieces become text, by the tokenizer's decoder."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        decoder = json.loads(backend.to_str())["decoder"] if backend is not None else None
        parts = {part["type"] for part in (decoder or {}).get("decoders", [decoder]) if part}
        if "ByteLevel" in parts:
            return "bytes"
        return "sentencepiece" if parts & {"Metaspace", "ByteFallback"} else "unknown"


@cache
def _bytes_of_characters() -> dict[str, int]:
    """The visible characters by which byte-level BPE spells bytes.

    Bytes that Latin-1 shows stand for themselves; the others follow each other from U+0100 on.
    """
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in set(shown)]
    return {chr(b): b for b in shown} | {chr(0x100 + n): b for n, b in enumerate(hidden)}

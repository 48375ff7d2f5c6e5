"""Text to token ids and back, exactly as the original's slow Llama tokenizer did it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigpt4.common.errors import WeightsError
from minigpt4.models.tokenizer_backends import (
    SPACE,
    Backend,
    SentencePieceBackend,
    TransformersBackend,
)

logger = logging.getLogger(__name__)

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


@dataclass(frozen=True, slots=True)
class _Special:
    """A token that is cut out of the text before the rest is encoded."""

    token_id: int
    strip_left: bool = False
    strip_right: bool = False


class LlmTokenizer:
    """One tokenizer for training and inference.

    Special tokens are split off first; every piece of text between them is encoded by itself, with
    the prefix space that sentencepiece gives. Build it with ``load``.

    Attributes:
        bos_id: Begins a sequence.
        eos_id: Ends an answer.
        special_ids: Left out of decoded text.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        bos_id: int,
        eos_id: int,
        specials: dict[str, _Special],
        special_ids: Iterable[int],
    ) -> None:
        self._backend = backend
        self.bos_id = bos_id
        self.eos_id = eos_id
        self.special_ids = frozenset(special_ids)
        self._specials = specials
        longest_first = sorted(specials, key=len, reverse=True)
        self._split = re.compile("|".join(map(re.escape, longest_first))) if specials else None

    def __len__(self) -> int:
        """Number of token ids."""
        return self._backend.size

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        rows: int | None = None,
        fallback: str | None = None,
        gguf: str | None = None,
        token: str | None = None,
    ) -> LlmTokenizer:
        """Load the tokenizer of a language model.

        Args:
            folder: Where its files are; a ``tokenizer.model`` decides.
            rows: Embeddings of the model; tokens beyond are left out.
            fallback: What ``AutoTokenizer`` is asked for where there is no ``tokenizer.model``.
            gguf: GGUF file in the folder that holds the vocabulary.
            token: Hub token.
        Raises:
            WeightsError: There is no tokenizer that can be read, or it belongs to another model.
        """
        path = Path(folder)
        if (path / "tokenizer.model").is_file():
            tokenizer = _load_sentencepiece(path, rows)
        else:
            tokenizer = _load_auto(fallback or str(path), gguf, token)
        if rows is not None and len(tokenizer) > rows:
            raise WeightsError(
                f"The tokenizer of {fallback or path} (model.llama_model) has {len(tokenizer)} "
                f"tokens but the model only {rows}: take both from the same place."
            )
        return tokenizer

    def encode(self, text: str, *, add_bos: bool = False) -> list[int]:
        """Token ids of a text; special tokens within it (``</s>``) become their ids."""
        ids = [self.bos_id] if add_bos else []
        for part in self._parts(text):
            if isinstance(part, str):
                ids += self._backend.encode(part)
            else:
                ids.append(part.token_id)
        return ids

    def decode(self, ids: Iterable[int], *, skip_special: bool = True) -> str:
        """Text of token ids; bytes that are no UTF-8 become U+FFFD."""
        kept = [i for i in map(int, ids) if not (skip_special and i in self.special_ids)]
        return self._backend.decode(kept)

    def decode_prefix(self, ids: Sequence[int]) -> str:
        """Text of the first tokens of an answer, without a character that is still incomplete."""
        return self.decode(ids).rstrip(REPLACEMENT)

    def piece(self, token_id: int) -> str:
        """The token as the vocabulary spells it."""
        return self._backend.piece(token_id)

    def spelling(self, token_id: int) -> bytes | None:
        """What the token adds to a text, its space included; None if it is no plain text."""
        return None if token_id in self.special_ids else self._backend.spelling(token_id)

    def id_of(self, piece: str) -> int | None:
        """The id of a piece of the vocabulary, or None."""
        return self._backend.id_of(piece)

    def char_ends(self, ids: Sequence[int]) -> list[int]:
        """Length of the decoded text after each token, so that text positions map to tokens."""
        ends: list[int] = []
        for count in range(1, len(ids) + 1):
            # A character whose bytes are not complete yet belongs to the token that completes it.
            ends.append(max(len(self.decode_prefix(ids[:count])), ends[-1] if ends else 0))
        if ends:
            ends[-1] = len(self.decode(ids))
        return ends

    def _parts(self, text: str) -> list[str | _Special]:
        """Cut a text at its special tokens."""
        if self._split is None:
            return [text] if text else []
        parts: list[str | _Special] = []
        start, strip = 0, False
        for match in self._split.finditer(text):
            special = self._specials[match.group()]
            before = text[start : match.start()]
            before = before.lstrip() if strip else before
            before = before.rstrip() if special.strip_left else before
            parts += [before, special] if before else [special]
            start, strip = match.end(), special.strip_right
        rest = text[start:]
        rest = rest.lstrip() if strip else rest
        return [*parts, rest] if rest else parts


def _load_sentencepiece(folder: Path, rows: int | None) -> LlmTokenizer:
    added = {
        piece: token_id
        for piece, token_id in _read_json(folder / "added_tokens.json").items()
        if rows is None or token_id < rows
    }
    backend = SentencePieceBackend(folder / "tokenizer.model", added)
    config = _read_json(folder / "tokenizer_config.json")
    mapped = _read_json(folder / "special_tokens_map.json")
    specials: dict[str, _Special] = {}
    ids: dict[str, int] = {}
    for name, default in _SPECIALS.items():
        value = mapped.get(name) or config.get(name) or default
        content = value["content"] if isinstance(value, dict) else value
        token_id = backend.id_of(content)
        if token_id is None:
            raise WeightsError(
                f"{folder} declares the {name} {content!r}, which its tokenizer.model does not "
                "hold: use the folder as it was published."
            )
        ids[name] = token_id
        # The original strips the spaces around a token that special_tokens_map.json names by a bare
        # string, and does as it is told by one that is described.
        bare = isinstance(mapped.get(name), str)
        flags: dict[str, Any] = value if isinstance(value, dict) else {}
        specials[content] = _Special(
            token_id,
            strip_left=bare or bool(flags.get("lstrip")),
            strip_right=bare or bool(flags.get("rstrip")),
        )
    silent = set(ids.values())
    for content in _contents(mapped.get("pad_token"), mapped.get("additional_special_tokens")):
        token_id = backend.id_of(content)
        if token_id is not None:
            silent.add(token_id)
            specials.setdefault(content, _Special(token_id, strip_left=True, strip_right=True))
    for content, token_id in added.items():
        specials.setdefault(content, _Special(token_id, strip_left=True, strip_right=True))
    return LlmTokenizer(
        backend,
        bos_id=ids["bos_token"],
        eos_id=ids["eos_token"],
        specials=specials,
        special_ids=silent,
    )


def _contents(*values: Any) -> list[str]:
    """Contents of special tokens that a file gives as strings, objects, or lists of them."""
    flat = [each for v in values for each in (v if isinstance(v, list) else [v]) if each]
    return [each["content"] if isinstance(each, dict) else each for each in flat]


def _load_auto(name: str, gguf: str | None, token: str | None) -> LlmTokenizer:
    from transformers import AutoTokenizer

    kwargs = {"gguf_file": gguf} if gguf else {}
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(name, token=token, **kwargs)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError(
            f"No tokenizer can be read from {name} (model.llama_model): {line}"
        ) from error
    eos, bos = tokenizer.eos_token_id, tokenizer.bos_token_id
    if eos is None:
        raise WeightsError(
            f"The tokenizer of {name} (model.llama_model) has no token that ends an answer: choose "
            "a language model that has one."
        )
    if SPACE in tokenizer.get_vocab():
        logger.warning(
            "%s has no tokenizer.model, so token ids may differ from those that its weights were "
            "trained with, on runs of spaces and around special tokens",
            name,
        )
    return LlmTokenizer(
        TransformersBackend(tokenizer),
        bos_id=eos if bos is None else bos,
        eos_id=eos,
        specials={},
        special_ids=tokenizer.all_special_ids,
    )


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{path} is not valid JSON ({error}): download it again.") from error
    return content

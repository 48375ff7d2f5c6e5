"""Text to token ids and back, exactly as the original's slow Llama tokenizer did it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from minigpt4.common.errors import WeightsError

logger = logging.getLogger(__name__)

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class _Backend(Protocol):
    """What differs between a sentencepiece model and a tokenizer of transformers."""

    size: int

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def piece(self, token_id: int) -> str: ...

    def id_of(self, piece: str) -> int | None: ...


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
        backend: _Backend,
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
    def load(cls, folder: str | Path, *, token: str | None = None) -> LlmTokenizer:
        """Load the tokenizer of a language model.

        Args:
            folder: A folder with ``tokenizer.model``, or whatever ``AutoTokenizer`` understands.
            token: Hub token.
        Raises:
            WeightsError: There is no tokenizer that can be read.
        """
        path = Path(folder)
        if (path / "tokenizer.model").is_file():
            return _load_sentencepiece(path)
        return _load_auto(str(folder), token)

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


class _SentencePiece:
    """A ``tokenizer.model`` and the tokens added beyond it."""

    def __init__(self, path: Path, added: dict[str, int]) -> None:
        import sentencepiece

        try:
            self._model = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError) as error:
            raise WeightsError(
                f"{path} is not a sentencepiece model: download it again."
            ) from error
        self._added = added
        self._added_pieces = {i: piece for piece, i in added.items()}
        self.size = max([self._model.get_piece_size(), *(i + 1 for i in added.values())])

    def encode(self, text: str) -> list[int]:
        return self._model.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        text, run = "", []
        for i in ids:
            if i in self._added_pieces:
                text += self._model.decode(run) + self._added_pieces[i]
                run = []
            elif 0 <= i < self._model.get_piece_size():
                run.append(i)
        return text + self._model.decode(run)

    def piece(self, token_id: int) -> str:
        if token_id in self._added_pieces:
            return self._added_pieces[token_id]
        return self._model.id_to_piece(token_id)

    def id_of(self, piece: str) -> int | None:
        if piece in self._added:
            return self._added[piece]
        token_id = self._model.piece_to_id(piece)
        return token_id if self._model.id_to_piece(token_id) == piece else None


class _Transformers:
    """A tokenizer of transformers, for models without ``tokenizer.model``."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.size = len(tokenizer)

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False)

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids, clean_up_tokenization_spaces=False)

    def piece(self, token_id: int) -> str:
        return self._tokenizer.convert_ids_to_tokens(token_id)

    def id_of(self, piece: str) -> int | None:
        return self._tokenizer.get_vocab().get(piece)


def _load_sentencepiece(folder: Path) -> LlmTokenizer:
    added = _read_json(folder / "added_tokens.json")
    backend = _SentencePiece(folder / "tokenizer.model", added)
    declared = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    declared |= {
        name: value
        for source in ("tokenizer_config.json", "special_tokens_map.json")
        for name, value in _read_json(folder / source).items()
        if name in ("bos_token", "eos_token", "unk_token") and value
    }
    # A token that a file names as a plain string strips the spaces around it; one that is described
    # by an object does as the object says.
    plain = {
        value
        for name, value in _read_json(folder / "special_tokens_map.json").items()
        if name.endswith("_token") and isinstance(value, str)
    }
    specials, ids = {}, {}
    for name, value in declared.items():
        content = value["content"] if isinstance(value, dict) else value
        token_id = backend.id_of(content)
        if token_id is None:
            raise WeightsError(
                f"{folder} declares the {name} {content!r}, which its tokenizer.model does not "
                "hold: use the folder as it was published."
            )
        ids[name] = token_id
        flags = value if isinstance(value, dict) else {}
        specials[content] = _Special(
            token_id,
            strip_left=bool(flags.get("lstrip")) or content in plain,
            strip_right=bool(flags.get("rstrip")) or content in plain,
        )
    for content, token_id in added.items():
        specials.setdefault(content, _Special(token_id, strip_left=True, strip_right=True))
    return LlmTokenizer(
        backend,
        bos_id=ids["bos_token"],
        eos_id=ids["eos_token"],
        specials=specials,
        special_ids=ids.values(),
    )


def _load_auto(name: str, token: str | None) -> LlmTokenizer:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, token=token)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"No tokenizer can be read from {name} (model.llama_model): {_first_line(error)}"
        ) from error
    if tokenizer.eos_token_id is None:
        raise WeightsError(f"The tokenizer of {name} has no token that ends an answer.")
    if "llama" in type(tokenizer).__name__.lower():
        logger.warning(
            "%s has no tokenizer.model, so its token ids may differ from those that Llama weights "
            "were trained with on runs of spaces and around special tokens.",
            name,
        )
    eos = tokenizer.eos_token_id
    bos = tokenizer.bos_token_id
    return LlmTokenizer(
        _Transformers(tokenizer),
        bos_id=eos if bos is None else bos,
        eos_id=eos,
        specials={},
        special_ids=tokenizer.all_special_ids,
    )


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    return json.loads(path.read_text(encoding="utf-8"))


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

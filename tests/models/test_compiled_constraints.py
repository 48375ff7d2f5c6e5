"""Constraints in the tokens of several tokenizers."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY_LLAMA
from test_constraints import ANSWERS, holds

from minigpt4.common.errors import ConfigError
from minigpt4.models.constraints import (
    AnswerSet,
    CompiledConstraint,
    DefectGrammar,
    Vocabulary,
)
from minigpt4.models.generation import clean_text
from minigpt4.models.tokenizer import LlmTokenizer

CLASSES = ["bottle", "grass", "gravel", "metal_nut", "cá rô", "t-shirt"]
CONSTRAINTS = {
    "closed": DefectGrammar(CLASSES, max_boxes=2),
    "free": DefectGrammar(None),
    "answers": ANSWERS,
}
TEXTS = {
    "closed": [
        *(f"<p>{name}-not-defect</p>{{<0><0><100><100>}}" for name in CLASSES),
        "<p>grass-defect</p>{<34><60><59><81>}<delim>{<1><2><30><4>}",
        "<p>gravel-defect</p>{<9><10><11><100>}",
    ],
    "free": ["<p>metal nut-defect</p>{<34><6><59><81>}", "<p>đèn-not-defect</p>{<1><2><3><4>}"],
    "answers": list(ANSWERS.answers),
}
COORDINATES = Path(__file__).parents[2] / "ckpt" / "tiny" / "llm"
"""A tokenizer in which each of <0> to <100> is one token, and which knows few letters."""


def byte_level(folder: Path) -> LlmTokenizer:
    """A byte-level BPE, as many language models have."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator([text for each in TEXTS.values() for text in each] * 3, trainer)
    PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<end>").save_pretrained(folder)
    return LlmTokenizer.load(folder)


@pytest.fixture(scope="module", params=["llama", "coordinates", "bytes"])
def vocabulary(request, tmp_path_factory) -> Vocabulary:
    if request.param == "bytes":
        tokenizer = byte_level(tmp_path_factory.mktemp("bytes"))
    else:
        tokenizer = LlmTokenizer.load(
            {"llama": TINY_LLAMA, "coordinates": COORDINATES}[request.param]
        )
    return Vocabulary(tokenizer, [tokenizer.eos_id])


@pytest.fixture(scope="module", params=CONSTRAINTS)
def compiled(request, vocabulary) -> tuple[str, CompiledConstraint]:
    return request.param, CompiledConstraint(CONSTRAINTS[request.param], vocabulary)


def said(compiled: CompiledConstraint, tokens: list[int]) -> str:
    return clean_text(compiled.vocabulary.tokenizer.decode(tokens))


def test_training_tokens_are_always_among_the_choices(compiled):
    name, constraint = compiled
    tokenizer = constraint.vocabulary.tokenizer
    for text in TEXTS[name]:
        position = constraint.start
        for token in tokenizer.encode(text):
            assert token in constraint.choices(position).tokens.tolist(), (text, token)
            position = constraint.advance(position, token)
        assert tokenizer.eos_id in constraint.choices(position).tokens.tolist()


def test_forced_tokens_are_those_of_training(compiled):
    """Wherever a training answer stands, what must follow is how it goes on."""
    name, constraint = compiled
    forced_somewhere = 0
    for text in TEXTS[name]:
        tokens = constraint.vocabulary.tokenizer.encode(text)
        position = constraint.start
        for place, token in enumerate(tokens):
            forced = constraint.forced(position, tokens[:place], 200)
            assert tokens[place : place + len(forced)] == forced, (text, place)
            forced_somewhere += bool(forced)
            position = constraint.advance(position, token)
        assert constraint.forced(position, tokens, 200) == []
    assert forced_somewhere >= 2


def walked(constraint: CompiledConstraint, limit: int, rng: random.Random) -> list[int]:
    """Tokens drawn evenly from what is allowed, end token included."""
    position, tokens = constraint.start, list[int]()
    while True:
        for token in constraint.forced(position, tokens, limit - len(tokens)):
            position = constraint.advance(position, token)
            tokens.append(token)
        allowed = constraint.choices(position).within(limit - len(tokens)).tolist()
        tokens.append(rng.choice(allowed))
        if tokens[-1] in constraint.vocabulary.end_ids:
            return tokens
        position = constraint.advance(position, tokens[-1])


@pytest.mark.parametrize("spare", [0, 7, 200])
def test_any_way_ends_within_the_limit_and_can_be_read(compiled, spare):
    _, constraint = compiled
    limit = constraint.needed(constraint.start) + spare
    constraint.check(limit)
    found = set()
    for seed in range(6):
        tokens = walked(constraint, limit, random.Random(seed))
        assert len(tokens) <= limit
        text = said(constraint, tokens)
        assert holds(constraint.constraint, text), text
        found.add(text)
    assert len(found) > 1 or spare < 7


def test_a_limit_below_the_shortest_answer(compiled):
    _, constraint = compiled
    needed = constraint.needed(constraint.start)
    with pytest.raises(ConfigError, match=f"max_new_tokens is {needed - 1}"):
        constraint.check(needed - 1)


def test_an_answer_that_begins_another_may_end_or_go_on(vocabulary):
    constraint = CompiledConstraint(ANSWERS, vocabulary)
    tokens = vocabulary.tokenizer.encode("màu xanh")
    position = constraint.start
    for token in tokens:
        position = constraint.advance(position, token)
    assert constraint.forced(position, tokens, 50) == []
    allowed = constraint.choices(position).tokens.tolist()
    assert vocabulary.tokenizer.eos_id in allowed
    assert len(allowed) > 1
    assert constraint.choices(position).within(1).tolist() == [vocabulary.tokenizer.eos_id]


def test_a_character_without_a_piece_is_spelled_in_bytes_to_its_end(vocabulary):
    constraint = CompiledConstraint(AnswerSet(["🦙", "🦊"]), vocabulary)
    begun = [token for byte in "🦙".encode()[:-1] for token in vocabulary.spell(bytes([byte]))]
    position = constraint.start
    for token in begun:
        position = constraint.advance(position, token)
    endings = constraint.choices(position).tokens.tolist()
    texts = {said(constraint, [*begun, token]) for token in endings}
    assert texts == {"🦙", "🦊"}, "and no other byte"


def test_tokens_after_another_spelling_still_say_what_must_follow(vocabulary):
    """The model may cut its answer otherwise than the tokenizer would."""
    constraint = CompiledConstraint(AnswerSet(["trong suốt"]), vocabulary)
    position, tokens = constraint.start, list[int]()
    for letter in "tro":
        token = vocabulary.spell(letter.encode())[0]
        position = constraint.advance(position, token)
        tokens.append(token)
    tokens += constraint.forced(position, tokens, 50)
    assert said(constraint, tokens) == "trong suốt"


def test_special_tokens_are_never_allowed(compiled):
    _, constraint = compiled
    tokenizer = constraint.vocabulary.tokenizer
    special = tokenizer.special_ids - {tokenizer.eos_id}
    position = constraint.start
    for token in [None, *tokenizer.encode("màu")]:
        try:
            position = position if token is None else constraint.advance(position, token)
        except ValueError:
            break
        assert not special & set(constraint.choices(position).tokens.tolist())


def test_a_tokenizer_without_bytes_that_lacks_a_letter(tmp_path):
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["hai ba xanh"] * 20),
        model_prefix=str(tmp_path / "tokenizer"),
        model_type="char",
        vocab_size=12,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    tokenizer = LlmTokenizer.load(tmp_path)
    words = Vocabulary(tokenizer, [tokenizer.eos_id])
    CompiledConstraint(AnswerSet(["hai", "xanh"]), words)
    with pytest.raises(ConfigError, match="cannot spell 'đ ỏ'"):
        CompiledConstraint(AnswerSet(["hai", "đỏ"]), words)


def test_a_tokenizer_whose_spelling_is_not_known(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.WordLevel({"<unk>": 0, "<end>": 1, "xanh": 2}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    fast: Any = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<end>", unk_token="<unk>")
    fast.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="no known way"):
        Vocabulary(LlmTokenizer.load(tmp_path), [1])


def test_llama2s_own_tokenizer():
    from test_tokenizer import llama2_folder

    folder = llama2_folder()
    if not (folder / "tokenizer.model").is_file():
        pytest.skip("Llama 2's tokenizer.model may not be shipped: set MINIGPT4_SHARED to test it")
    tokenizer = LlmTokenizer.load(folder)
    words = Vocabulary(tokenizer, [tokenizer.eos_id])
    for name in ("closed", "answers"):
        pair = (name, CompiledConstraint(CONSTRAINTS[name], words))
        test_training_tokens_are_always_among_the_choices(pair)
        test_forced_tokens_are_those_of_training(pair)
        test_any_way_ends_within_the_limit_and_can_be_read(pair, 7)
    start = CompiledConstraint(CONSTRAINTS["closed"], words)
    opening = start.forced(start.start, [], 100)
    assert [tokenizer.piece(token) for token in opening] == ["▁<", "p", ">"]

"""Token ids and decoded text as transformers 4.30's slow Llama tokenizer gave them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import TINY_LLAMA, reference

from minigpt4.common.errors import WeightsError
from minigpt4.models.tokenizer import LlmTokenizer

VARIANTS = reference("tokenizer_variants.json")


def llama2_folder() -> Path:
    shared = os.environ.get("MINIGPT4_SHARED") or Path(__file__).parents[3] / "shared"
    return Path(shared) / "data" / "llama2_tokenizer"


@pytest.fixture(scope="module")
def tiny() -> LlmTokenizer:
    return LlmTokenizer.load(TINY_LLAMA)


def check(tokenizer: LlmTokenizer, cases: list[dict]) -> None:
    for case in cases:
        text = case["text"]
        assert tokenizer.encode(text) == case["ids"], text
        assert tokenizer.encode(text, add_bos=True) == case["ids_with_bos"], text
        assert [tokenizer.piece(i) for i in case["ids"]] == case["tokens"], text
        assert tokenizer.decode(case["ids"]) == case["decoded_skip_special"], text


def test_reference_strings(tiny):
    check(tiny, reference("tokenizer.json"))


def test_reference_strings_of_llama2():
    folder = llama2_folder()
    if not (folder / "tokenizer.model").is_file():
        pytest.skip("Llama 2's tokenizer.model may not be shipped: set MINIGPT4_SHARED to test it")
    check(LlmTokenizer.load(folder), reference("tokenizer_llama2.json"))


@pytest.mark.parametrize("name", VARIANTS)
def test_special_tokens_however_a_folder_declares_them(tmp_path, name):
    variant = VARIANTS[name]
    shutil.copytree(
        TINY_LLAMA, tmp_path, dirs_exist_ok=True, ignore=lambda *_: ["pytorch_model.bin"]
    )
    for file, content in (
        ("special_tokens_map.json", variant["special_tokens_map"]),
        ("added_tokens.json", variant["added_tokens"]),
    ):
        if content is not None:
            (tmp_path / "tokenizer_config.json").write_text("{}")
            (tmp_path / file).write_text(json.dumps(content))
    tokenizer = LlmTokenizer.load(tmp_path)
    for text, ids, decoded in variant["cases"]:
        assert tokenizer.encode(text) == ids, text
        assert tokenizer.decode(ids) == decoded, text


def test_tokens_beyond_the_models_rows_are_left_out(tmp_path):
    shutil.copy(TINY_LLAMA / "tokenizer.model", tmp_path)
    (tmp_path / "added_tokens.json").write_text('{"<pad>": 1000}')
    tokenizer = LlmTokenizer.load(tmp_path, rows=1000)
    assert max(tokenizer.encode("a<pad>b")) < 1000
    with pytest.raises(WeightsError, match="1000 tokens but the model only 999"):
        LlmTokenizer.load(tmp_path, rows=999)


def test_characters_map_to_tokens_also_where_bytes_make_them(tiny):
    text = "🦙 màu xanh"
    ids = [*tiny.encode(text), tiny.eos_id]
    ends = tiny.char_ends(ids)
    assert ends == sorted(ends)
    assert ends[-1] == len(text)
    # The four bytes of the first character are complete with the last of them.
    assert ends[:5] == [0, 0, 0, 0, 1]


def test_an_unfinished_character_is_not_shown(tiny):
    ids = tiny.encode("é🦙")
    shown = [tiny.decode_prefix(ids[:n]) for n in range(len(ids) + 1)]
    assert all("\N{REPLACEMENT CHARACTER}" not in text for text in shown)
    assert shown[-1] == "é🦙"


def test_folder_without_tokenizer(tmp_path):
    with pytest.raises(WeightsError, match="No tokenizer can be read"):
        LlmTokenizer.load(tmp_path)


def test_broken_tokenizer(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(b"not a model")
    with pytest.raises(WeightsError, match="not a sentencepiece model"):
        LlmTokenizer.load(tmp_path)


def test_any_tokenizer_of_transformers(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {w: i for i, w in enumerate(["<unk>", "<end>", "màu", "xanh", *map(str, range(9))])}
    raw = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<end>", unk_token="<unk>")
    fast.save_pretrained(tmp_path)
    tokenizer = LlmTokenizer.load(tmp_path)
    assert tokenizer.encode("màu xanh<end>") == [2, 3, 1]
    assert tokenizer.encode("màu", add_bos=True) == [1, 2], "without a BOS the end begins"
    assert tokenizer.decode([2, 3, 1]) == "màu xanh"
    assert (tokenizer.id_of("xanh"), tokenizer.id_of("đỏ"), tokenizer.piece(3)) == (3, None, "xanh")

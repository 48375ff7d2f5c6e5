"""The small language model: its tokenizer, and its export after pre-training."""

import torch

from minigpt4.common.checkpoint import load_weights
from minigpt4.models.tokenizer import LlmTokenizer
from minigpt4.quickstart.pretrain import LANGUAGE_MODEL, REST, export


def test_each_coordinate_is_one_token():
    tokenizer = LlmTokenizer.load(LANGUAGE_MODEL)
    ids = [tokenizer.id_of(f"<{value}>") for value in range(101)]

    assert None not in ids
    assert len(set(ids)) == 101
    box = tokenizer.encode("{<0><35><99><100>}")
    assert [i for i in box if i in ids] == [ids[0], ids[35], ids[99], ids[100]]


def test_vietnamese_survives_the_round_trip():
    tokenizer = LlmTokenizer.load(LANGUAGE_MODEL)
    for text in ("màu xanh lá", "ngôi nhà ở phía dưới", "nghiêng ngả, khuỷu tay"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_export_splits_the_language_model_from_the_rest(tmp_path):
    blank = tmp_path / "blank"
    blank.mkdir()
    for name in ("config.json", "tokenizer.model"):
        (blank / name).write_bytes((LANGUAGE_MODEL / name).read_bytes())
    weights = {
        "llama_model.model.norm.weight": torch.ones(4),
        "llama_proj.weight": torch.full((2, 2), 0.1),
        "visual_encoder.feature_mean": torch.tensor([1e-8, 2.0]),
    }
    torch.save({"model": weights}, tmp_path / "run.pth")
    export(
        tmp_path / "run.pth", blank=blank, llm=tmp_path / "llm", rest=tmp_path / "rest.safetensors"
    )

    language = load_weights(tmp_path / "llm" / "model.safetensors")
    assert language["model.norm.weight"].dtype == torch.float16
    rest = load_weights(tmp_path / "rest.safetensors")
    assert set(rest) == {"llama_proj.weight", "visual_encoder.feature_mean"}
    assert rest["visual_encoder.feature_mean"].dtype == torch.float32
    assert torch.equal(rest["llama_proj.weight"], weights["llama_proj.weight"])


def test_shipped_files_stay_small():
    total = sum(path.stat().st_size for path in REST.parent.rglob("*.safetensors"))
    assert total < 12_000_000

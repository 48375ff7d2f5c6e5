"""Language models from folders, GGUF files and the hub, in their precisions and bit widths."""

from __future__ import annotations

import logging
import shutil

import numpy as np
import pytest
import torch
from conftest import CPU, TINY_LLAMA, batch, build, pictures, small_settings

from minigpt4.common.errors import AccessError, ConfigError, ResourceError, WeightsError
from minigpt4.models import hub
from minigpt4.models.llm import default_device, load_language_model, resolve_precision
from minigpt4.models.quantization import quantization_config

CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    ("name", "device", "trains", "expected"),
    [
        ("auto", CPU, False, torch.float32),
        ("auto", CUDA, False, torch.float16),
        ("auto", CUDA, True, torch.float32),
        ("fp16", CPU, False, torch.float32),
        ("fp16", CUDA, False, torch.float16),
        ("fp16", CUDA, True, torch.float32),
        ("bf16", CPU, False, torch.bfloat16),
        ("bf16", CUDA, True, torch.bfloat16),
        ("fp32", CUDA, False, torch.float32),
    ],
)
def test_precision_by_device(name, device, trains, expected):
    assert resolve_precision(name, device, key="model.llm_precision", trains=trains) == expected


def test_unknown_precision():
    with pytest.raises(ConfigError, match=r"model\.llm_precision is 'fp8'"):
        build(small_settings(llm_precision="fp8"))


def test_half_precision_runs():
    model = build(small_settings(llm_precision="bf16", vit_precision="bf16"))
    assert model.llama_model.get_input_embeddings().weight.dtype == torch.bfloat16
    assert model.llama_proj.weight.dtype == torch.float32
    loss = model(batch(2))["loss"]
    loss.backward()
    assert loss.dtype == torch.float32
    assert model.llama_proj.weight.grad.norm() > 0
    assert len(model.generate(pictures(1), ["<ImageHere> gì "], max_new_tokens=3)) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "model.llama_model is empty"),
        ("./nowhere/llama", "does not exist"),
        ("/nowhere/llama", "does not exist"),
        ("weights.gguf", "GGUF file weights.gguf"),
    ],
)
def test_models_that_are_not_there(name, words):
    with pytest.raises((ConfigError, WeightsError), match=words):
        load_language_model(small_settings(llama_model=name), CPU)


def test_a_folder_that_holds_no_model(tmp_path):
    with pytest.raises(WeightsError, match=r"no config\.json"):
        load_language_model(small_settings(llama_model=str(tmp_path)), CPU)


def test_broken_weights(bare_llama):
    (bare_llama / "model.safetensors").write_bytes(b"half a file")
    with pytest.raises(WeightsError, match="cannot be loaded as a causal language model"):
        load_language_model(small_settings(llama_model=str(bare_llama)), CPU)


def test_a_model_of_another_kind(tmp_path):
    from transformers import MambaConfig

    MambaConfig(vocab_size=1000, hidden_size=8, num_hidden_layers=1).save_pretrained(tmp_path)
    shutil.copy(TINY_LLAMA / "tokenizer.model", tmp_path)
    settings = small_settings(llama_model=str(tmp_path), lora_r=0, freeze_llm=False)
    with pytest.raises(WeightsError, match="decoder-only transformer"):
        load_language_model(settings, CPU)


def test_any_causal_model(tmp_path):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=1000,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    Qwen2ForCausalLM(config).save_pretrained(tmp_path)
    shutil.copy(TINY_LLAMA / "tokenizer.model", tmp_path)
    model = build(small_settings(llama_model=str(tmp_path)))
    model(batch(2))["loss"].backward()
    lora = "llama_model.base_model.model.model.layers.0.self_attn.q_proj.lora_B.default.weight"
    assert dict(model.named_parameters())[lora].grad.norm() > 0
    assert len(model.generate(pictures(2), ["<ImageHere> gì "] * 2, num_beams=2)) == 2


class GatedRepoError(Exception):
    pass


class RepositoryNotFoundError(Exception):
    pass


class NetworkError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            GatedRepoError("403"),
            r"gated: accept its licence at https://huggingface\.co/a/b.*HF_TOKEN",
        ),
        (RepositoryNotFoundError("401"), "neither a folder here nor a model on the hub"),
        (NetworkError("name not known"), "hub cannot be reached"),
    ],
)
def test_what_the_hub_refuses(monkeypatch, error, words):
    from huggingface_hub import HfApi

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(HfApi, "auth_check", refuse)
    with pytest.raises(AccessError, match=words):
        hub.locate("a/b")


def test_a_hub_models_tokenizer_is_its_sentencepiece_model(monkeypatch):
    import huggingface_hub

    asked = {}

    def snapshot(name: str, **kwargs: object) -> str:
        asked.update(name=name, **kwargs)
        return str(TINY_LLAMA)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setenv("HF_TOKEN", "secret")
    source = hub.Source("a/b", on_hub=True)
    assert source.has_weights
    assert (source.tokenizer_folder() / "tokenizer.model").is_file()
    assert asked["token"] == "secret"
    assert "tokenizer.model" in asked["allow_patterns"]


def test_where_a_quantized_model_goes(monkeypatch):
    assert default_device() == CPU or torch.cuda.is_available()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert default_device(small_settings(low_resource=True, device_8bit=2)).index == 2
    assert default_device(small_settings(device_8bit=2)).index == 0
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert default_device(small_settings(low_resource=True, device_8bit=2)).index == 1


# Quantization


@pytest.fixture
def quantized(request):
    pytest.importorskip("bitsandbytes")
    return build(small_settings(**{request.param: True}))


both = pytest.mark.parametrize("quantized", ["low_resource", "load_in_4bit"], indirect=True)


@both
def test_quantized_models_learn_also_after_an_evaluation(quantized):
    kinds = {type(m).__name__ for m in quantized.llama_model.modules()}
    assert kinds & {"Linear8bitLt", "Linear4bit"}
    samples = batch(2)
    plain = build(small_settings())
    plain.visual_encoder.load_state_dict(quantized.visual_encoder.state_dict())
    plain.llama_proj.load_state_dict(quantized.llama_proj.state_dict())
    with torch.no_grad():
        before = quantized(samples)["loss"].item()
        assert before == pytest.approx(plain(samples)["loss"].item(), rel=0.05)
    quantized.generate(samples["image"], ["<ImageHere> gì "] * 2, max_new_tokens=3)
    quantized.train()
    optimizer = torch.optim.AdamW([p for p in quantized.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(4):
        optimizer.zero_grad()
        loss = quantized(samples)["loss"]
        loss.backward()
        gradients = {n: p.grad for n, p in quantized.named_parameters() if p.requires_grad}
        assert all(g is not None and g.isfinite().all() for g in gradients.values())
        optimizer.step()
    assert any(g.norm() > 0 for n, g in gradients.items() if "lora_A" in n)
    assert loss.item() < before - 0.5
    names = set(quantized.trainable_state_dict())
    assert names == set(plain.trainable_state_dict())


@both
def test_quantization_is_quiet(quantized, caplog):
    with caplog.at_level(logging.WARNING), torch.no_grad():
        quantized(batch(1))
    assert "inputs will be cast" not in caplog.text


@pytest.mark.parametrize("quantized", ["load_in_4bit"], indirect=True)
def test_no_layer_rearranges_its_weights_in_evaluation(quantized):
    """The rearranged weights of a CPU with AVX512-BF16 have no gradient."""
    from bitsandbytes.nn import Linear4bit

    layers = [m for m in quantized.modules() if isinstance(m, Linear4bit)]
    assert layers
    assert hasattr(layers[0], "support_avx512bf16_for_cpu"), "the name of the switch is gone"
    assert not any(layer.support_avx512bf16_for_cpu for layer in layers)


@pytest.mark.parametrize("quantized", ["load_in_4bit"], indirect=True)
def test_gradients_after_an_evaluation_on_such_a_cpu(quantized):
    from bitsandbytes.functional import has_avx512bf16

    if not has_avx512bf16():
        pytest.skip("this CPU has no AVX512-BF16, where the trap is")
    samples = batch(2)
    with torch.no_grad():
        quantized.eval()(samples)
    quantized.train()(samples)["loss"].backward()
    assert quantized.llama_proj.weight.grad.norm() > 0


def test_settings_that_exclude_each_other(monkeypatch):
    with pytest.raises(ConfigError, match="exclude each other"):
        quantization_config(small_settings(low_resource=True, load_in_4bit=True), CPU)
    with pytest.raises(ConfigError, match="freeze_llm=False"):
        quantization_config(small_settings(low_resource=True, freeze_llm=False), CPU)
    with pytest.raises(ResourceError, match="does not work on mps"):
        quantization_config(small_settings(load_in_4bit=True), torch.device("mps"))
    assert quantization_config(small_settings(), CPU) is None
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ResourceError, match="pip install bitsandbytes"):
        quantization_config(small_settings(low_resource=True), CPU)


def test_a_quantized_model_needs_weights_of_its_own(bare_llama):
    settings = small_settings(llama_model=str(bare_llama), low_resource=True, ckpt="later.pth")
    with pytest.raises(WeightsError, match="a quantized one cannot take"):
        load_language_model(settings, CPU)


# GGUF


def turned(weight: torch.Tensor, heads: int) -> np.ndarray:
    """Rows in the order in which GGUF keeps the rotated halves of each head."""
    rows, width = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, width)
    return halves.swapaxes(1, 2).reshape(rows, width).numpy()


@pytest.fixture
def gguf_file(tmp_path):
    gguf = pytest.importorskip("gguf")
    import sentencepiece

    state = torch.load(TINY_LLAMA / "pytorch_model.bin", weights_only=True)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(TINY_LLAMA / "tokenizer.model"))
    count = pieces.get_piece_size()
    file = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(4096)
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_feed_forward_length(128)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_rope_dimension_count(16)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(count)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([pieces.id_to_piece(i) for i in range(count)])
    writer.add_token_scores([pieces.get_score(i) for i in range(count)])
    writer.add_token_types(
        [
            2 if i == 0 else 3 if pieces.is_control(i) else 6 if pieces.is_byte(i) else 1
            for i in range(count)
        ]
    )
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    names = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    writer.add_tensor("token_embd.weight", state["model.embed_tokens.weight"].numpy())
    writer.add_tensor("output.weight", state["lm_head.weight"].numpy())
    writer.add_tensor("output_norm.weight", state["model.norm.weight"].numpy())
    for layer in range(2):
        for own, name in names.items():
            weight = state[f"model.layers.{layer}.{own}.weight"]
            values = turned(weight, 4) if name in ("attn_q", "attn_k") else weight.numpy()
            writer.add_tensor(f"blk.{layer}.{name}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def test_gguf_file_is_the_model_it_was_made_of(gguf_file):
    shutil.copy(TINY_LLAMA / "tokenizer.model", gguf_file.parent)
    settings = small_settings(lora_r=0)
    folder = load_language_model(settings, CPU).model
    settings.llama_model = str(gguf_file)
    loaded = load_language_model(settings, CPU)
    ids = torch.tensor([[1, 273, 364, 424, 2]])
    with torch.no_grad():
        torch.testing.assert_close(
            loaded.model(ids).logits, folder(ids).logits, rtol=1e-4, atol=1e-4
        )
    assert loaded.tokenizer.encode("màu xanh") == [273, 364]


def test_gguf_file_with_its_own_vocabulary(gguf_file, caplog):
    with caplog.at_level(logging.WARNING):
        loaded = load_language_model(small_settings(lora_r=0, llama_model=str(gguf_file)), CPU)
    assert loaded.tokenizer.encode("màu xanh</s>") == [273, 364, 2]
    assert "has no tokenizer.model" in caplog.text

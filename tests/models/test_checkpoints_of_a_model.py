"""Saving what was learned, loading it elsewhere, and refusing what would be lost."""

from __future__ import annotations

import pytest
import torch
from conftest import PARITY, batch, build, small_settings

from minigpt4.common.checkpoint import save_safetensors
from minigpt4.common.errors import WeightsError
from minigpt4.models.llm import save_language_model
from minigpt4.models.minigpt_v2 import MiniGPTv2
from minigpt4.models.vision.eva import resize_positions

LITE0 = {
    "vit_model": "timm/tf_efficientnet_lite0",
    "vit_weights": "random",
    "vit_config": {"out_indices": [4], "standardize": True},
    "image_size": 64,
    "token_merge": "none",
}


def perturbed(**changes) -> MiniGPTv2:
    """A model that has learned something."""
    model = build(small_settings(**changes))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def loss(model: MiniGPTv2, samples: dict) -> float:
    with torch.no_grad():
        return model(samples)["loss"].item()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_saved_and_loaded(tmp_path, suffix):
    model = perturbed()
    file = tmp_path / f"checkpoint_0{suffix}"
    state = model.trainable_state_dict()
    if suffix == ".pth":
        torch.save({"model": state, "meta": {}, "epoch": 0}, file)
    else:
        save_safetensors(file, state)
    # The encoder is drawn anew, so the pictures' features are handed over.
    samples = batch(2)
    samples["image_features"] = model.encode_image_features(samples.pop("image"))
    other = build(small_settings(ckpt=str(file)))
    assert loss(other, samples) == pytest.approx(loss(model, samples), rel=1e-6)
    assert other.prompt_style == "training"
    assert not other.load_report.missing


def test_prompt_style_follows_the_setting_first():
    original = str(PARITY / "original_checkpoint_1.pth")
    # The original's projection belongs to 448 px pictures merged by four, as here.
    assert build(small_settings(ckpt=original)).prompt_style == "original"
    assert build(small_settings(ckpt=original, prompt_style="training")).prompt_style == "training"
    assert build(small_settings(prompt_style="original")).prompt_style == "original"
    assert build(small_settings()).prompt_style == "training"


def test_a_whole_language_model_goes_below_lora(tmp_path, bare_llama):
    """A small model pre-trained whole, then fine-tuned by LoRA from a folder without weights."""
    learned = perturbed(lora_r=0, freeze_llm=False, llama_model=str(bare_llama))
    file = tmp_path / "pretrained.safetensors"
    save_safetensors(file, {n: v.half() for n, v in learned.trainable_state_dict().items()})
    tuned = build(small_settings(llama_model=str(bare_llama), ckpt=str(file)))
    base = tuned.llama_model.get_base_model()
    layer = base.model.layers[1].self_attn.q_proj.base_layer.weight
    expected = learned.llama_model.model.layers[1].self_attn.q_proj.weight
    torch.testing.assert_close(layer, expected, rtol=1e-3, atol=1e-3)
    assert not any("base_layer" in name for name in tuned.trainable_state_dict())


def test_tied_embeddings_are_saved_and_asked_for_once(tmp_path, bare_llama):
    config = (
        (bare_llama / "config.json")
        .read_text()
        .replace('"tie_word_embeddings": false', '"tie_word_embeddings": true')
    )
    (bare_llama / "config.json").write_text(config)
    learned = perturbed(lora_r=0, freeze_llm=False, llama_model=str(bare_llama))
    assert "llama_model.lm_head.weight" not in learned.trainable_state_dict()
    file = tmp_path / "tied.safetensors"
    save_safetensors(file, learned.trainable_state_dict())
    loaded = build(small_settings(llama_model=str(bare_llama), ckpt=str(file)))
    assert not loaded.load_report.missing
    assert torch.equal(
        loaded.llama_model.get_output_embeddings().weight,
        learned.llama_model.get_input_embeddings().weight,
    )
    folder = tmp_path / "folder"
    save_language_model(learned.llama_model, folder, torch.float16)
    for tokenizer_file in bare_llama.glob("tokenizer*"):
        (folder / tokenizer_file.name).write_bytes(tokenizer_file.read_bytes())
    again = build(small_settings(llama_model=str(folder)))
    torch.testing.assert_close(
        again.llama_model.get_output_embeddings().weight,
        learned.llama_model.get_input_embeddings().weight,
        rtol=1e-3,
        atol=1e-3,
    )


def test_feature_statistics_go_with_what_was_learned(tmp_path):
    model = build(small_settings(**LITE0))
    rows = torch.randn(4, 4, 320, generator=torch.Generator().manual_seed(0)) * 3 + 1
    model.visual_encoder.fit_feature_statistics([rows])
    file = tmp_path / "a.safetensors"
    save_safetensors(file, model.trainable_state_dict())
    other = build(small_settings(**LITE0, ckpt=str(file)))
    assert torch.equal(other.visual_encoder.feature_mean, model.visual_encoder.feature_mean)
    assert torch.equal(other.visual_encoder.feature_std, model.visual_encoder.feature_std)
    assert other.load_report.components["statistics"].matched
    assert "vision" not in other.load_report.components


def test_a_trained_encoder_loads_into_a_frozen_one(tmp_path):
    """A frozen CNN's norms are folded away only after its weights are there."""
    learned = perturbed(**LITE0, freeze_vit=False)
    learned.visual_encoder.net.bn1.running_mean.fill_(0.3)
    file = tmp_path / "a.safetensors"
    save_safetensors(file, learned.trainable_state_dict())
    frozen = build(small_settings(**LITE0, ckpt=str(file)))
    samples = batch(2)
    samples["image"] = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert loss(frozen, samples) == pytest.approx(loss(learned, samples), rel=1e-3)
    late = build(small_settings(**LITE0))
    with pytest.raises(WeightsError, match="while the model is built"):
        late.load_checkpoint(str(file))


def test_an_encoder_trained_on_another_grid_is_resized():
    """The reference model's encoder has 32 x 32 places; 56 px pictures have 4 x 4."""
    model = build(small_settings(ckpt=str(PARITY / "state_dict.pt")))
    positions = torch.load(PARITY / "state_dict.pt", weights_only=True)["visual_encoder.pos_embed"]
    expected = resize_positions(positions, 1 + 16)
    assert torch.equal(model.visual_encoder.pos_embed, expected)
    assert not model.load_report.mismatched


def test_another_encoder_is_refused():
    with pytest.raises(WeightsError, match="another image encoder"):
        config = {"embed_dim": 64, "depth": 2, "num_heads": 4, "mlp_ratio": 2.0}
        build(small_settings(ckpt=str(PARITY / "state_dict.pt"), vit_config=config))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"lora_r": 4},
            r"8 tensor.*of the lora .*check model\.lora_r.*\[8, 64\] in the file, \[4, 64\]",
        ),
        ({"lora_r": 0}, r"8 tensor.*of the lora .*check model\.lora_r"),
        ({"lora_target_modules": ["o_proj"]}, "8 tensor.*of the lora"),
        ({"token_merge": "none"}, r"1 tensor.*of the projection .*token_merge"),
    ],
)
def test_a_checkpoint_whose_learned_parts_do_not_fit_is_refused(change, words):
    with pytest.raises(WeightsError, match=words):
        build(small_settings(ckpt=str(PARITY / "original_checkpoint_1.pth"), **change))


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    file = tmp_path / "resnet.pth"
    torch.save({"conv1.weight": torch.ones(1), "fc.bias": torch.ones(2)}, file)
    with pytest.raises(WeightsError, match="belongs to another model"):
        build(small_settings(ckpt=str(file)))


def test_a_checkpoint_does_not_replace_missing_language_weights(bare_llama):
    with pytest.raises(WeightsError, match="holds no weights"):
        build(
            small_settings(
                llama_model=str(bare_llama), ckpt=str(PARITY / "original_checkpoint_1.pth")
            )
        )

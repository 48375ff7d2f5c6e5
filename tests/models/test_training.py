"""What a batch may hold, what must not change its loss, and what trains."""

from __future__ import annotations

import logging

import pytest
import torch
from conftest import batch, build, pictures, small_settings
from omegaconf import OmegaConf

from minigpt4.common.errors import ConfigError, DataError, WeightsError
from minigpt4.models.loss import CoordinateTargets
from minigpt4.models.minigpt_v2 import MiniGPTv2
from minigpt4.models.tokenizer import LlmTokenizer


@pytest.fixture(scope="module")
def model() -> MiniGPTv2:
    return build(small_settings())


def each(model: MiniGPTv2, samples: dict) -> torch.Tensor:
    with torch.no_grad():
        return model(samples, reduction="none")["loss"]


def rows(samples: dict, order: list[int]) -> dict:
    return {
        key: value[torch.tensor(order)] if torch.is_tensor(value) else [value[i] for i in order]
        for key, value in samples.items()
    }


def test_a_sample_does_not_depend_on_its_neighbours(model):
    samples = batch(3)
    together = each(model, samples)
    for row in range(3):
        alone = each(model, rows(samples, [row]))
        assert alone.item() == pytest.approx(together[row].item(), rel=1e-5)
    turned = each(model, rows(samples, [2, 0, 1]))
    torch.testing.assert_close(turned, together[[2, 0, 1]], rtol=1e-5, atol=1e-6)


def test_mean_is_over_the_answer_tokens_of_the_batch(model):
    samples = batch(3)
    with torch.no_grad():
        mean, total = (model(samples, reduction=r)["loss"].item() for r in ("mean", "sum"))
        tokens = (model.prepare(samples).labels >= 0).sum(1)
    assert total / tokens.sum().item() == pytest.approx(mean, rel=1e-6)
    assert (each(model, samples) * tokens).sum().item() == pytest.approx(total, rel=1e-5)


def test_cached_features_give_the_loss_of_the_pictures(model):
    samples = batch(2)
    cached = {k: v for k, v in samples.items() if k != "image"}
    cached["image_features"] = model.encode_image_features(samples["image"])
    assert torch.equal(each(model, cached), each(model, samples))


def test_several_pictures_of_a_sample(model):
    image = pictures(4).reshape(2, 2, 3, 56, 56)
    samples = {
        "image": image,
        "length": [2, 1],
        "instruction_input": [
            "<Img><ImageHere></Img><Img><ImageHere></Img> khác gì ",
            "<Img><ImageHere></Img> gì ",
        ],
        "answer": ["màu", "hai"],
    }
    found = each(model, samples)
    alone = each(model, {**rows(samples, [1]), "image": image[1, :1], "length": [1]})
    assert found[1].item() == pytest.approx(alone.item(), rel=1e-5)
    features = model.encode_image_features(image.flatten(0, 1)).unflatten(0, (2, 2))
    cached = {k: v for k, v in samples.items() if k != "image"} | {"image_features": features}
    torch.testing.assert_close(each(model, cached), found)
    swapped = each(model, samples | {"image": image.flip(1)})
    assert swapped[0] != found[0]


def test_a_later_turn_sees_what_came_before_and_nothing_after(model):
    conversation = {
        "image": pictures(1),
        "conv_q": ["<Img><ImageHere></Img> gì !@#màu gì "],
        "conv_a": ["con mèo!@#đỏ"],
        "connect_sym": ["!@#"],
    }
    spliced = model.prepare(conversation)
    labels = spliced.labels[0]
    encode = model.tokenizer.encode
    first, second = encode("con mèo</s>"), encode("đỏ</s>")
    later = encode("[INST] màu gì  [/INST]", add_bos=True)
    assert labels[-len(second) :].tolist() == second
    assert labels[labels >= 0].tolist() == first + second
    assert (labels[-len(second) - len(later) : -len(second)] == -100).all()
    single = {
        "image": conversation["image"],
        "instruction_input": ["<Img><ImageHere></Img> gì "],
        "answer": ["con mèo"],
    }
    with torch.no_grad():
        losses, _ = model._losses(model.pack(conversation))
        only, _ = model._losses(model.pack(single))
    torch.testing.assert_close(losses[: len(first)], only)


def test_a_question_without_answer_at_the_end_has_no_part(model):
    """The original appends the last answer once more."""
    whole = {
        "image": pictures(1),
        "conv_q": ["<Img><ImageHere></Img> gì !@#và "],
        "conv_a": ["con mèo"],
        "connect_sym": ["!@#"],
    }
    cut = whole | {"conv_q": ["<Img><ImageHere></Img> gì "]}
    before = model.counts["unanswered_turns"]
    assert torch.equal(each(model, whole), each(model, cut))
    assert model.counts["unanswered_turns"] == before + 1


def test_a_pad_that_is_a_word_stays_in_the_loss(model):
    """The original takes `$$` for padding; its tokenizer here has no such piece, so bytes."""
    spliced = model.prepare(batch(1, answer=["x$$5"]))
    labels = spliced.labels[0]
    assert labels[labels >= 0].tolist() == model.tokenizer.encode("x$$5</s>")
    unknown = model.prepare(batch(1, answer=["<unk> x"])).labels[0]
    assert (unknown == 0).sum() == 1, "the id of padding in the original"


def test_pictures_and_placeholders_must_agree(model):
    samples = batch(1, instruction_input=["<ImageHere><ImageHere> gì "])
    with pytest.raises(DataError, match="has 2 <ImageHere> but the sample has 1 picture"):
        model(samples)
    with pytest.raises(DataError, match="has 1 <ImageHere> but the sample has 0 picture"):
        model({k: v for k, v in batch(1).items() if k != "image"})
    later = {"conv_q": ["gì !@#<ImageHere> "], "conv_a": ["a!@#b"], "connect_sym": ["!@#"]}
    with pytest.raises(DataError, match="all pictures in the first question"):
        model(later | {"image": pictures(1)})
    before = model.counts["unused_pictures"]
    model(batch(1, instruction_input=["gì "]))
    assert model.counts["unused_pictures"] == before + 1


def test_answers_without_questions(model):
    samples = {"conv_q": ["gì "], "conv_a": ["a!@#b"], "connect_sym": ["!@#"]}
    with pytest.raises(DataError, match=r"1 question.* and 2 answer"):
        model(samples)


def test_cuts_are_counted():
    model = build(small_settings(max_txt_len=3, max_context_len=10))
    spliced = model.prepare(batch(2))
    assert (spliced.labels >= 0).sum(1).tolist() == [3, 2]
    assert spliced.attention_mask.sum(1).tolist() == [1 + 10 + 3, 1 + 10 + 2]
    assert model.counts == {"cut_prompts": 2, "cut_answers": 1}


def test_a_batch_without_any_target_has_no_loss_and_no_nan(model):
    samples = batch(2, answer=["", ""])
    end, model.sequences.end_sym = model.sequences.end_sym, ""
    try:
        loss = model(samples)["loss"]
        loss.backward()
        assert each(model, samples).tolist() == [0, 0]
    finally:
        model.sequences.end_sym = end
    assert loss.item() == 0


def test_gradient_checkpointing_changes_no_gradient():
    plain, saving = build(small_settings()), build(small_settings(use_grad_checkpoint_llm=True))
    for model in (plain, saving):
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model(batch(2))["loss"].backward()
    assert saving.llama_model.is_gradient_checkpointing
    for (name, a), (_, b) in zip(plain.named_parameters(), saving.named_parameters(), strict=True):
        if a.requires_grad:
            torch.testing.assert_close(a.grad, b.grad, msg=name)


def test_what_trains(model):
    def trained(**changes) -> set[str]:
        built = build(small_settings(**changes))
        return {n.split(".")[0] for n, p in built.named_parameters() if p.requires_grad}

    assert trained() == {"llama_model", "llama_proj"}
    assert trained(lora_r=0) == {"llama_proj"}
    assert trained(freeze_vit=False) == {"visual_encoder", "ln_vision", "llama_model", "llama_proj"}
    whole = build(small_settings(lora_r=0, freeze_llm=False))
    assert all(p.requires_grad for p in whole.llama_model.parameters())
    assert "llama_model.model.layers.0.mlp.up_proj.weight" in whole.trainable_state_dict()
    both = build(small_settings(freeze_llm=False))
    assert all(p.requires_grad for p in both.llama_model.parameters())
    names = set(both.trainable_state_dict())
    assert "llama_model.base_model.model.model.layers.0.self_attn.q_proj.weight" in names


def test_lora_goes_where_it_is_told():
    model = build(small_settings(lora_target_modules=["up_proj"], lora_r=2))
    names = [n for n in model.trainable_state_dict() if "lora" in n]
    assert len(names) == 4
    assert all(".mlp.up_proj.lora_" in n for n in names)
    with pytest.raises(ConfigError, match=r"query_key.*linear layers are.*q_proj"):
        build(small_settings(lora_target_modules=["query_key"]))


def test_training_mode_leaves_a_frozen_encoder_in_evaluation():
    model = build(small_settings(drop_path_rate=0.5))
    model.train()
    assert not model.visual_encoder.training
    assert model.llama_model.training
    assert build(small_settings(freeze_vit=False)).train().visual_encoder.training


def test_a_frozen_encoder_that_trains_gets_gradients():
    model = build(small_settings(freeze_vit=False, use_grad_checkpoint=True)).train()
    model(batch(2))["loss"].backward()
    assert model.visual_encoder.blocks[0].attn.qkv.weight.grad.norm() > 0
    assert model.encode_image_features(pictures(1)).requires_grad is False


def test_squares_of_tokens(model):
    merged = build(small_settings(token_merge="2x2"))
    whole = build(small_settings(token_merge="none"))
    shapes = [m.encode_img(pictures(1))[0].shape for m in (model, merged, whole)]
    assert shapes == [(1, 4, 64), (1, 4, 64), (1, 16, 64)]
    with pytest.raises(ConfigError, match="2x2 does not fit"):
        build(small_settings(token_merge="2x2", image_size=70)).encode_img(pictures(1, 70))
    with pytest.raises(ConfigError, match="token_merge is 'x'"):
        build(small_settings(token_merge="x"))


def test_configuration_in_either_form():
    mapping = OmegaConf.create(
        vars(small_settings()) | {"wise": "no setting", "arch": "minigpt_v2"}
    )
    assert build(mapping).settings == small_settings()


def test_language_model_without_weights(bare_llama, caplog):
    with pytest.raises(WeightsError, match="configuration but no weights"):
        build(small_settings(llama_model=str(bare_llama)))
    with caplog.at_level(logging.WARNING):
        model = build(small_settings(llama_model=str(bare_llama), lora_r=0, freeze_llm=False))
    assert "starts at random" in caplog.text
    assert torch.isfinite(model(batch(2))["loss"])


@pytest.fixture(scope="module")
def coordinate_tokenizer(tmp_path_factory) -> LlmTokenizer:
    import sentencepiece

    folder = tmp_path_factory.mktemp("coordinates")
    (folder / "text.txt").write_text("màu xanh lá cây hai con mèo trên ghế\n" * 50, "utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text.txt"),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=400,
        model_type="bpe",
        byte_fallback=True,
        user_defined_symbols=[f"<{i}>" for i in range(101)],
        minloglevel=2,
    )
    return LlmTokenizer.load(folder)


def test_coordinates_are_softened_and_nothing_else(coordinate_tokenizer):
    from minigpt4.models.loss import token_losses

    tokenizer = coordinate_tokenizer
    ids = torch.tensor([*tokenizer.encode("{<12><100>}"), tokenizer.eos_id])
    soft = CoordinateTargets(tokenizer, sigma=2.0)
    coordinates = soft.coordinate_of(ids)
    assert coordinates[coordinates >= 0].tolist() == [12, 100]
    logits = torch.randn(len(ids), len(tokenizer), generator=torch.Generator().manual_seed(0))
    hard, softened = token_losses(logits, ids, None), token_losses(logits, ids, soft)
    assert torch.equal(hard[coordinates < 0], softened[coordinates < 0])
    # By hand for <100>: half of the normal curve is cut off and the rest sums to one.
    row = int((coordinates == 100).nonzero())
    scores = logits[row].log_softmax(-1)
    weights = [2.718281828459045 ** (-0.5 * ((v - 100) / 2.0) ** 2) for v in range(101)]
    by_hand = -sum(w * scores[tokenizer.id_of(f"<{v}>")].item() for v, w in enumerate(weights))
    assert softened[row].item() == pytest.approx(by_hand / sum(weights), rel=1e-4)


def test_softening_needs_such_tokens():
    with pytest.raises(ConfigError, match="coord_sigma"):
        build(small_settings(coord_sigma=2.0))

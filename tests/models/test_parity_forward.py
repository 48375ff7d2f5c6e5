"""Embeddings, labels, losses and gradients of the original, case by case."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from conftest import reference

from minigpt4.models.minigpt_v2 import MiniGPTv2

CASES: dict[str, Any] = reference("forward.json")


@pytest.fixture(scope="module")
def tensors() -> dict[str, Any]:
    return reference("forward_tensors.pt")


@contextlib.contextmanager
def changed(model: MiniGPTv2, settings: dict[str, Any]) -> Iterator[None]:
    holders = {
        key: [h for h in (model.settings, model.sequences) if hasattr(h, key)] for key in settings
    }
    before = {key: getattr(holders[key][0], key) for key in settings}
    try:
        for key, value in settings.items():
            for holder in holders[key]:
                setattr(holder, key, value)
        yield
    finally:
        for key, value in before.items():
            for holder in holders[key]:
                setattr(holder, key, value)


def samples_of(case: dict[str, Any], features: torch.Tensor) -> dict[str, Any]:
    samples = dict(case["samples"])
    if "image" in samples:
        samples["image_features"] = features[
            torch.tensor(samples.pop("image")["images.pt indices"])
        ]
    return samples


def test_encode_img(parity_model, pixels, features):
    expected = reference("encode_img.pt")
    with torch.no_grad():
        embeds, attention = parity_model.encode_img(pixels)
    torch.testing.assert_close(embeds, expected["img_embeds"], rtol=1e-5, atol=2e-6)
    assert torch.equal(attention, expected["img_atts"].to(attention.dtype))
    # The encoder's own output; the original's first row is the class token, which is dropped.
    torch.testing.assert_close(
        features[:, :7], expected["vit_out_first"][:, 1:], rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(features[:, -8:], expected["vit_out_last"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_sequences(parity_model, features, tensors, name):
    case, expected = CASES[name], tensors[name]
    with changed(parity_model, case["set"]), torch.no_grad():
        spliced = parity_model.prepare(samples_of(case, features))
    mask = spliced.attention_mask.bool()
    assert mask.sum(1).tolist() == case["attn_sums"]
    assert torch.equal(spliced.labels[mask], expected["labels"].long())
    answers = [row[row >= 0].tolist() for row in spliced.labels]
    assert answers == case["target_ids"]
    torch.testing.assert_close(
        spliced.inputs_embeds[mask][:, ::16], expected["embeds_dims"], rtol=1e-5, atol=2e-6
    )


@pytest.mark.parametrize("name", CASES)
def test_losses_and_gradients(parity_model, features, tensors, name):
    case, expected = CASES[name], tensors[name]
    parity_model.zero_grad()
    with changed(parity_model, case["set"]):
        samples = samples_of(case, features)
        loss = parity_model(samples)["loss"]
        loss.backward()
        with torch.no_grad():
            total = parity_model(samples, reduction="sum")["loss"]
            each = parity_model(samples, reduction="none")["loss"]
    assert loss.item() == pytest.approx(case["loss"], rel=1e-5)
    assert total.item() == pytest.approx(case["loss_sum"], rel=1e-5)
    # The original divides by the padded length, ours by each sample's own answer tokens.
    tokens = torch.tensor(case["per_sample_target_tokens"])
    assert (each * tokens).sum().item() == pytest.approx(case["loss_sum"], rel=1e-5)
    trained = {n: p.grad for n, p in parity_model.named_parameters() if p.requires_grad}
    assert sorted(n for n, g in trained.items() if g is None) == sorted(case["no_grad_params"])
    for parameter, gradient in expected["grads"].items():
        difference = (trained[parameter] - gradient).norm() / gradient.norm()
        assert difference < 1e-3, parameter


def test_mean_per_answer_token_of_each_sample(parity_model, features, tensors):
    """Against the original's logits, of which every twentieth is kept."""
    case, expected = CASES["b_conversation"], tensors["b_conversation"]
    with torch.no_grad():
        spliced = parity_model.prepare(samples_of(case, features))
        logits = parity_model.llama_model(inputs_embeds=spliced.inputs_embeds).logits
    targets = spliced.labels[:, 1:]
    rows, columns = (targets >= 0).nonzero(as_tuple=True)
    found = logits[rows, columns]
    torch.testing.assert_close(found[:, ::20], expected["logits"], rtol=1e-4, atol=1e-4)
    losses = -found.log_softmax(-1).gather(1, targets[rows, columns, None]).squeeze(1)
    means = [losses[rows == row].mean().item() for row in range(2)]
    with torch.no_grad():
        each = parity_model(samples_of(case, features), reduction="none")["loss"]
    assert each.tolist() == pytest.approx(means, rel=1e-5)

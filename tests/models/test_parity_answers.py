"""Generation, ranking and checkpoints of the original."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from conftest import PARITY, build, parity_settings, reference

from minigpt4.models.minigpt_v2 import MiniGPTv2

GENERATE: dict[str, Any] = {k: v for k, v in reference("generate.json").items() if k != "_note"}
MORE: list[dict[str, Any]] = reference("generate_more.json")
EOS = 2


@contextlib.contextmanager
def end_scaled(model: MiniGPTv2, factor: float) -> Iterator[None]:
    """Make the end token likelier, as the reference values of these cases did."""
    row = model.llama_model.get_output_embeddings().weight.data[EOS]
    before = row.clone()
    try:
        row.mul_(factor)
        yield
    finally:
        row.copy_(before)


def until_end(ids: list[int]) -> list[int]:
    """A row of the original's output without its BOS and the padding after the end."""
    ids = ids[1:]
    return ids[: ids.index(EOS) + 1] if EOS in ids else ids


@pytest.mark.parametrize("name", GENERATE)
def test_generation(parity_model, features, name):
    case = GENERATE[name]
    rows = [int(name[-1])] if "alone" in name else [0, 1, 2]
    factor = float(name.rpartition("x")[2]) if "eos_x" in name else 1.0
    with end_scaled(parity_model, factor):
        found = parity_model.generate_scored(
            None, case["texts"], image_features=features[rows], **case["kwargs"]
        )
    assert [g.token_ids for g in found] == [until_end(ids) for ids in case["raw_ids"]]
    assert [g.text for g in found] == case["answers"]
    assert [g.finished for g in found] == [EOS in ids for ids in case["raw_ids"]]


@pytest.mark.parametrize("number", range(len(MORE)))
def test_generation_with_other_settings(parity_model, features, number):
    """Beams, penalties and lengths that only show where answers end early."""
    case = MORE[number]
    with end_scaled(parity_model, case["scale"]):
        found = parity_model.generate_scored(
            None,
            GENERATE["greedy_batch3"]["texts"],
            image_features=features[:3],
            **case["kwargs"],
        )
    assert [g.token_ids for g in found] == case["ids"]


def test_generate_takes_pictures_and_gives_texts(parity_model, pixels):
    case = GENERATE["greedy_alone_0"]
    assert parity_model.generate(pixels[:1], case["texts"], **case["kwargs"]) == case["answers"]


def test_multi_select(parity_model, pixels, features):
    case = reference("multi_select.json")
    candidates = case["answers(list of candidate columns, each a batch)"]
    texts = case["texts"]
    found = parity_model.multi_select(pixels[:3], texts, candidates, case["num_cand"])
    assert found == case["ranks"]
    found = parity_model.multi_select(None, texts, candidates, image_features=features[:3])
    assert found == case["ranks_no_num_cand"]


def test_a_single_row_is_ranked_by_the_originals_own_loss(parity_model, features):
    case = reference("forward.json")["a_single_turn_b1"]
    samples = case["samples"]
    with torch.no_grad():
        found = parity_model._ranking_losses(
            samples["instruction_input"], [samples["answer"]], {"image_features": features[3:]}
        )
    assert found[0] == pytest.approx(case["per_sample_loss_none"], rel=1e-5)


def test_original_checkpoint(parity_model):
    path = PARITY / "original_checkpoint_1.pth"
    model = build(parity_settings(ckpt=str(path)))
    report = model.load_report
    assert report is not None
    assert report.is_original
    assert model.prompt_style == "original"
    assert len(report.components["lora"].matched) == 8
    assert sorted(report.components["projection"].matched) == [
        "llama_proj.bias",
        "llama_proj.weight",
    ]
    assert not (report.missing or report.unexpected or report.mismatched)
    written = torch.load(path, weights_only=True)["model"]
    for name, value in model.trainable_state_dict().items():
        assert torch.equal(value, written[name]), name


def test_names_of_what_trains_are_the_originals(parity_model):
    assert sorted(parity_model.trainable_state_dict()) == sorted(reference("trainable_keys.json"))


def test_every_tensor_of_the_original_has_its_place(parity_model):
    report = parity_model.load_report
    assert report is not None
    assert not (report.missing or report.unexpected or report.mismatched)
    counts = {name: len(part.matched) for name, part in report.components.items()}
    assert counts == {"llm": 21, "lora": 8, "vision": 30, "ln_vision": 2, "projection": 2}

"""Reading weights without running code, writing them whole, and reporting what fits."""

from __future__ import annotations

import argparse
import os
import stat
from pathlib import Path

import pytest
import torch

from minigpt4.common.checkpoint import (
    canonical_name,
    component_of,
    load_checkpoint_file,
    load_weights,
    match_weights,
    save_safetensors,
)
from minigpt4.common.errors import WeightsError
from minigpt4.common.files import save_atomic

ORIGINAL = Path(__file__).parents[1] / "fixtures" / "parity" / "original_checkpoint_1.pth"
LORA = "llama_model.base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight"


def test_original_checkpoint():
    checkpoint = load_checkpoint_file(ORIGINAL)
    assert checkpoint.is_original
    assert checkpoint.extra["epoch"] == 1
    assert checkpoint.extra["config"]["model"]["arch"] == "minigpt_v2"
    assert checkpoint.chat_template is True
    assert checkpoint.model[LORA].shape == (8, 64)
    assert load_weights(ORIGINAL).keys() == checkpoint.model.keys()


def test_ours_is_told_by_its_meta(tmp_path):
    file = tmp_path / "checkpoint_0.pth"
    torch.save({"model": {"a": torch.ones(2)}, "meta": {}, "epoch": 0}, file)
    checkpoint = load_checkpoint_file(file)
    assert not checkpoint.is_original
    assert checkpoint.chat_template is None
    assert checkpoint.extra == {"meta": {}, "epoch": 0}


def test_bare_weights_and_safetensors(tmp_path):
    weights = {"a": torch.arange(4.0), "b": torch.ones(2, 2)[:, :1]}
    torch.save(weights, tmp_path / "bare.pth")
    save_safetensors(tmp_path / "whole.safetensors", weights, {"command": "make"})
    for name in ("bare.pth", "whole.safetensors"):
        found = load_weights(tmp_path / name)
        assert all(torch.equal(found[k], v) for k, v in weights.items())
    checkpoint = load_checkpoint_file(tmp_path / "whole.safetensors")
    assert checkpoint.extra == {"command": "make"}
    assert not checkpoint.is_original


class _Trap:
    ran = False

    def __reduce__(self):
        return setattr, (_Trap, "ran", True)


def test_a_file_with_objects_is_refused_and_not_run(tmp_path):
    for content in (_Trap(), argparse.Namespace(a=1)):
        file = tmp_path / "trap.pth"
        torch.save({"model": {"a": torch.ones(1)}, "config": content}, file)
        with pytest.raises(WeightsError, match="could run code"):
            load_checkpoint_file(file)
    assert not _Trap.ran


def test_files_that_are_not_there_broken_or_empty(tmp_path):
    with pytest.raises(WeightsError, match=r"nowhere\.pth does not exist"):
        load_checkpoint_file(tmp_path / "nowhere.pth")
    whole = ORIGINAL.read_bytes()
    for name, content in (("half.pth", whole[: len(whole) // 2]), ("page.safetensors", b"<html>")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match="broken or incomplete"):
            load_checkpoint_file(tmp_path / name)
    (tmp_path / "page.pth").write_bytes(b"<html>")
    with pytest.raises(WeightsError, match="no checkpoint"):
        load_checkpoint_file(tmp_path / "page.pth")
    torch.save({"model": {}, "epoch": 1}, tmp_path / "empty.pth")
    with pytest.raises(WeightsError, match="no weights"):
        load_checkpoint_file(tmp_path / "empty.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="no dict"):
        load_checkpoint_file(tmp_path / "list.pth")


def test_a_file_is_whole_or_not_there(tmp_path):
    file = tmp_path / "new" / "checkpoint.pth"
    save_atomic(file, lambda temporary: torch.save({"epoch": 1}, temporary))

    def breaks(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        save_atomic(file, breaks)
    assert torch.load(file, weights_only=True) == {"epoch": 1}
    assert [p.name for p in file.parent.iterdir()] == ["checkpoint.pth"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(
    "spelling",
    [
        LORA,
        LORA.replace(".default", ""),
        "module." + LORA,
    ],
)
def test_one_name_for_lora_whoever_wrote_it(spelling):
    assert canonical_name(spelling) == canonical_name(LORA)


def test_one_name_for_a_base_weight_with_and_without_peft():
    plain = "llama_model.model.layers.0.self_attn.q_proj.weight"
    older = "llama_model.base_model.model.model.layers.0.self_attn.q_proj.weight"
    newer = "llama_model.base_model.model.model.layers.0.self_attn.q_proj.base_layer.weight"
    assert canonical_name(plain) == canonical_name(older) == canonical_name(newer)
    assert canonical_name(LORA) != canonical_name(newer)


def test_components():
    names = {
        LORA: "lora",
        "llama_model.lm_head.weight": "llm",
        "llama_proj.bias": "projection",
        "visual_encoder.cls_token": "vision",
        "visual_encoder.feature_mean": "statistics",
        "ln_vision.weight": "ln_vision",
        "query_tokens": "other",
    }
    assert {name: component_of(name) for name in names} == names


def test_report():
    weights = {
        "llama_proj.weight": torch.ones(2, 3),
        LORA.replace(".default", ""): torch.ones(8, 4),
        "llama_model.base_model.model.model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
        "Qformer.bert.weight": torch.ones(1),
    }
    targets = {
        "llama_proj.weight": torch.zeros(2, 3),
        "llama_proj.bias": torch.zeros(2),
        LORA: torch.zeros(16, 4),
        "visual_encoder.cls_token": torch.zeros(1),
    }
    report, found = match_weights("some.pth", weights, targets)
    assert list(found) == ["llama_proj.weight"]
    assert report.matched == ["llama_proj.weight"]
    assert report.missing == ["llama_proj.bias"], "the encoder is not expected in it"
    assert report.unexpected == ["Qformer.bert.weight"]
    assert report.mismatched == [f"{LORA}: [8, 4] in the file, [16, 4] here"]
    text = str(report)
    assert "some.pth" in text
    assert "projection  1 matched, 1 missing (llama_proj.bias)" in text
    assert "inv_freq" not in text

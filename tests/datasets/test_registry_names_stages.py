"""The files of the three stages and of the original's mixture: complete, and what they say."""

import argparse
import sys
from pathlib import Path

import pytest

from minigpt4.common.config import Config
from minigpt4.datasets.builders import make_builder
from minigpt4.datasets.sampling import step_odds

ROOT = Path(__file__).parents[2]
WEAK = {"grit", "laion", "cc_sbu"}
INSTRUCTIONS = {
    "multitask_conversation", "llava_conversation", "llava_detail", "llava_reason",
    "unnatural_instruction", "flickr_grounded_caption", "flickr_CaptionToPhrase",
    "flickr_ObjectToPhrase",
}  # fmt: skip
STEPS = {"stage1_pretrain": 400_000, "stage2_multitask": 50_000, "stage3_instruct": 35_000}
ORIGINAL = {
    # name: (batch size, sample ratio) in the original's minigptv2_finetune.yaml
    "multitask_conversation": (2, 50), "llava_conversation": (2, 30),
    "unnatural_instruction": (1, 10), "refvg": (6, 40), "llava_detail": (4, 20),
    "llava_reason": (4, 80), "flickr_grounded_caption": (2, 80),
    "flickr_CaptionToPhrase": (2, 80), "flickr_ObjectToPhrase": (2, 80), "coco_caption": (6, 10),
    "textcaps_caption": (6, 30), "refcoco": (6, 25), "refcocop": (6, 25), "refcocog": (6, 25),
    "invrefcoco": (6, 10), "invrefcocop": (6, 10), "invrefcocog": (6, 10), "coco_vqa": (6, 15),
    "ok_vqa": (6, 8), "aok_vqa": (6, 12), "gqa": (6, 50), "ocrvqa": (6, 30),
}  # fmt: skip


def config(name, *options):
    path = ROOT / "train_configs" / f"minigptv2_{name}.yaml"
    return Config(argparse.Namespace(cfg_path=str(path), options=list(options)))


def shares(cfg):
    """Share of the samples that each data set gives."""
    entries = [cfg.dataset(name) for name in cfg.dataset_names]
    sizes = [entry.batch_size for entry in entries]
    odds = step_odds([entry.sample_ratio for entry in entries], sizes, cfg.run().mixing)
    samples = [odd * size for odd, size in zip(odds, sizes, strict=True)]
    return {n: s / sum(samples) for n, s in zip(cfg.dataset_names, samples, strict=True)}


@pytest.mark.parametrize("name", [*STEPS, "finetune"])
def test_every_entry_is_known_without_a_warning(name, caplog):
    cfg = config(name)
    assert not caplog.text
    for entry in cfg.dataset_names:
        assert make_builder(entry, cfg.dataset(entry)).settings.kind == cfg.dataset(entry).kind
    assert cfg.run().min_lr < cfg.run().init_lr
    if name in STEPS:
        assert cfg.run().max_epoch * cfg.run().iters_per_epoch == STEPS[name]


def test_stage_1_draws_most_from_weakly_labelled_data():
    found = shares(config("stage1_pretrain"))
    assert sum(found[name] for name in WEAK) == pytest.approx(2 / 3)
    assert not INSTRUCTIONS & set(found)
    assert {config("stage1_pretrain").dataset(name).batch_size * 8 for name in found} == {96}


def test_stage_2_has_fine_grained_data_only():
    cfg = config("stage2_multitask")
    assert set(cfg.dataset_names) == set(ORIGINAL) - INSTRUCTIONS
    assert {cfg.dataset(name).batch_size * 4 for name in cfg.dataset_names} == {64}


@pytest.mark.parametrize("name", ["stage3_instruct", "finetune"])
def test_the_originals_mixture(name):
    cfg = config(name)
    entries = {n: cfg.dataset(n) for n in cfg.dataset_names}
    assert {n: (e.batch_size, e.sample_ratio) for n, e in entries.items()} == ORIGINAL
    assert cfg.run().mixing == "steps"


def test_every_data_set_of_the_stages_is_found_at_its_default_place(tmp_path, monkeypatch):
    sys.path.append(str(ROOT / "benchmarks"))
    import three_stages
    from three_stages_data import write_data

    small = (
        "image_size=56",
        "vit_weights=random",
        "vit_config={embed_dim: 64, depth: 1, num_heads: 4}",
        f"llama_model={ROOT}/ckpt/tiny/llm",
        "lora_r=4",
        "max_txt_len=192",
    )
    monkeypatch.setattr(three_stages, "_SAMPLES", 8)
    monkeypatch.setattr(three_stages, "SMALL_MODEL", small)
    write_data(tmp_path / "unseen" / "data", pictures=8, seed=0)
    losses = three_stages.losses(tmp_path, "")
    assert set(losses) == {*ORIGINAL, *WEAK}
    assert all(0 < loss < 20 for loss in losses.values())

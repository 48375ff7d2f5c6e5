"""A mixture of all kinds of data sets, and a run of a tiny model over it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from conftest import write_json, write_picture
from made_shards import caption_shards

from minigpt4.common.config import Config
from minigpt4.common.settings import DatasetSettings, RunSettings
from minigpt4.datasets.loaders import train_loader
from minigpt4.tasks import ImageTextPretrainTask
from minigpt4.tasks.image_text_pretrain import Split

HERE = Path(__file__).parent
TINY_LLAMA = HERE.parent / "fixtures" / "parity" / "tiny_llama_vi1000"
SIZES = [2, 3, 1, 2, 2]
"""Samples a batch of each data set of the mixture."""


def talks(count: int = 7) -> list[dict]:
    """Conversations of one to three turns."""
    return [
        {
            "id": f"{n:012d}",
            "conversations": [
                {"from": who, "value": f"{who} {n}-{turn}"}
                for turn in range(n % 3 + 1)
                for who in ("human", "gpt")
            ],
        }
        for n in range(count)
    ]


def write_mixture(tmp_path: Path) -> Path:
    """Questions, defects, conversations, instructions without a picture, and shards."""
    write_json(tmp_path / "talks.json", talks())
    for row in talks():
        write_picture(tmp_path / "talks" / f"{row['id']}.jpg", int(row["id"]))
    write_json(
        tmp_path / "text.json", [{"instruction": f"đếm {n}", "output": str(n)} for n in range(9)]
    )
    caption_shards(tmp_path / "shards", [7, 9, 5, 8, 6])
    return tmp_path


def entries(folder: Path, *, image_size: int = 16) -> dict[str, DatasetSettings]:
    infos: dict[str, tuple[str | None, dict[str, Any]]] = {
        "vivqa": (None, {"ann_path": str(folder / "ViVQA/train.csv"),
                         "image_path": str(folder / "ViVQA/images")}),
        "mvtec_ad": (None, {"ann_path": str(folder / "MVTEC_det/train_data.json"),
                            "image_path": str(folder / "MVTEC_det/images")}),
        "talks": ("conversation", {"ann_path": str(folder / "talks.json"), "image": "{id}.jpg",
                                   "image_path": str(folder / "talks")}),
        "text": ("conversation", {"ann_path": str(folder / "text.json"), "image": None}),
        "pairs": ("webpair", {"shards": str(folder / "shards")}),
    }  # fmt: skip
    train = {"name": "blip2_image_train", "image_size": image_size}
    return {
        name: DatasetSettings(
            kind=kind, batch_size=size, vis_processor={"train": train}, build_info=info
        )
        for size, (name, (kind, info)) in zip(SIZES, infos.items(), strict=True)
    }


def opened(folder: Path, **kwargs: Any) -> list[Split]:
    chosen = entries(folder, **kwargs)
    cfg: Any = SimpleNamespace(
        dataset_names=list(chosen), dataset=chosen.__getitem__, run=lambda: RunSettings()
    )
    return ImageTextPretrainTask().build_datasets(cfg, ["train"])


def seen(batch: Any) -> list[tuple]:
    """All that a batch says about each of its samples."""
    texts = [batch[key] for key in ("instruction_input", "answer", "conv_q", "conv_a")
             if key in batch]  # fmt: skip
    pixels = batch["image"].flatten(1).tolist() if "image" in batch else batch["answer"]
    rows = zip(batch["sample_id"], *texts, map(str, pixels), strict=True)
    return [(batch["dataset"], *row) for row in rows]


def batches(folder: Path, *, steps: int = 30, **kwargs: Any) -> list[list[tuple]]:
    splits = opened(folder)
    settings = {"batch_sizes": SIZES, "odds": [1] * 5, "seed": 5, "num_steps": steps} | kwargs
    return [seen(batch) for batch in train_loader([s.dataset for s in splits], **settings)]


def config(folder: Path, output: str, *options: str) -> Config:
    """A run of a tiny model over all kinds."""
    model = {
        "arch": "minigpt_v2", "image_size": 56, "vit_weights": "random", "ckpt": "",
        "vit_config": {"embed_dim": 64, "depth": 1, "num_heads": 4},
        "llama_model": str(TINY_LLAMA), "lora_r": 4, "end_sym": "</s>", "max_txt_len": 200,
        "chat_template": True,
    }  # fmt: skip
    datasets = {
        name: {
            "batch_size": entry.batch_size,
            "vis_processor": {"train": {"name": "blip2_image_train", "image_size": 56}},
            "build_info": entry.build_info,
        }
        | ({"kind": entry.kind} if entry.kind else {})
        for name, entry in entries(folder).items()
    }
    run = {"device": "cpu", "max_epoch": 2, "iters_per_epoch": 6, "init_lr": 0.01, "log_freq": 1,
           "output_dir": str(folder / output), "seed": 3}  # fmt: skip
    path = folder / f"{output}.yaml"
    path.write_text(yaml.safe_dump({"model": model, "datasets": datasets, "run": run}), "utf-8")
    return Config(SimpleNamespace(cfg_path=str(path), options=list(options)))

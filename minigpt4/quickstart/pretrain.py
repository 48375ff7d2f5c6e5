"""Make the small pre-trained checkpoint that the quick start begins from.

``python -m minigpt4.quickstart.pretrain`` (``make pretrain-tiny``) makes the corpora, trains the
tokenizer, trains the language model and the projection from random weights on captions, grounded
captions and text, in two parts, and writes ``ckpt/tiny/``.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from minigpt4.common.errors import run_cli

if TYPE_CHECKING:
    from minigpt4.runners.runner_base import TrainResult

logger = logging.getLogger(__name__)

CONFIGS = (Path("train_configs/tiny_pretrain.yaml"), Path("train_configs/tiny_pretrain_2.yaml"))
DATA = Path("data/tiny")
MORE = DATA / "more"
TARGET = Path("ckpt/tiny")
BLANK = TARGET / "blank"
LANGUAGE_MODEL = TARGET / "llm"
FIRST = BLANK / "first.pth"
"""The first part's checkpoint, where the second one's configuration looks for it."""
REST = TARGET / "pretrained.safetensors"
_KEPT = ("log.txt", "loss.png", "config.yaml", "environment.json")
_LLM = "llama_model."


def main(argv: Sequence[str] | None = None) -> None:
    """Make corpus, tokenizer and checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--options", nargs="+", metavar="KEY=VALUE", help="override settings")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the corpus (default 1)")
    args = parser.parse_args(argv)

    from minigpt4.common.config import Config
    from minigpt4.common.logger import setup_logging
    from minigpt4.datasets.tiny.generate import generate
    from minigpt4.quickstart.language import corpus, write_blank_model
    from minigpt4.runners import run_training

    setup_logging()
    generate(DATA, scale=args.scale, parts=("pretrain",))
    generate(MORE, scale=args.scale, parts=("pretrain",), seed=1)
    first, second = (
        Config(argparse.Namespace(cfg_path=str(path), options=args.options)) for path in CONFIGS
    )
    write_blank_model(BLANK, corpus(DATA / "pretrain", first.model().prompt_template))
    result = run_training(first)
    _keep(result, "1")
    assert result.last_checkpoint is not None
    shutil.copy(result.last_checkpoint, FIRST)
    result = run_training(second)
    _keep(result, "2")
    assert result.last_checkpoint is not None
    export(result.last_checkpoint, blank=BLANK, llm=LANGUAGE_MODEL, rest=REST)
    shutil.rmtree(BLANK)
    sys.stdout.write(f"Pre-trained: {LANGUAGE_MODEL} and {REST}\n")


def _keep(result: TrainResult, part: str) -> None:
    """Put a run's log, curve and settings beside the weights that it led to."""
    folder = TARGET / f"part_{part}"
    folder.mkdir(parents=True, exist_ok=True)
    for name in _KEPT:
        if (result.output_dir / name).is_file():
            shutil.copy(result.output_dir / name, folder / name)


def export(checkpoint: Path, *, blank: Path, llm: Path, rest: Path) -> None:
    """Split a training checkpoint into a language model in fp16 and what surrounds it.

    Args:
        checkpoint: A run with ``freeze_llm: False`` and ``lora_r: 0``.
        blank: Folder with the language model's configuration and tokenizer.
        llm: Folder to write, for ``model.llama_model``.
        rest: File to write, for ``model.ckpt``: projection and feature statistics.
    """
    import torch

    from minigpt4.common.checkpoint import load_weights, save_safetensors

    weights = load_weights(checkpoint)
    llm.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "tokenizer.model"):
        shutil.copy(blank / name, llm / name)
    language = {
        name.removeprefix(_LLM): value.to(torch.float16).contiguous()
        for name, value in weights.items()
        if name.startswith(_LLM)
    }
    save_safetensors(llm / "model.safetensors", language, {"format": "pt"})
    others = {n: v.contiguous() for n, v in weights.items() if not n.startswith(_LLM)}
    save_safetensors(rest, others, {"format": "pt"})


if __name__ == "__main__":
    sys.exit(run_cli(main))

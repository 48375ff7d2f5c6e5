"""Make the small pre-trained checkpoint that the quick start begins from.

``python -m minigpt4.quickstart.pretrain`` (``make pretrain-tiny``) makes the corpus, trains the
tokenizer, trains the language model and the projection from random weights on captions, grounded
captions and text, and writes ``ckpt/tiny/``.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from minigpt4.common.errors import run_cli

logger = logging.getLogger(__name__)

CONFIG = Path("train_configs/tiny_pretrain.yaml")
DATA = Path("data/tiny")
TARGET = Path("ckpt/tiny")
BLANK = TARGET / "blank"
LANGUAGE_MODEL = TARGET / "llm"
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
    config = Config(argparse.Namespace(cfg_path=str(CONFIG), options=args.options))
    write_blank_model(BLANK, corpus(DATA / "pretrain", config.model().prompt_template))
    result = run_training(config)
    if result.last_checkpoint is None:
        return
    export(result.last_checkpoint, blank=BLANK, llm=LANGUAGE_MODEL, rest=REST)
    for name in _KEPT:
        if (result.output_dir / name).is_file():
            shutil.copy(result.output_dir / name, TARGET / name)
    shutil.rmtree(BLANK)
    sys.stdout.write(f"Pre-trained: {LANGUAGE_MODEL} and {REST}\n")


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

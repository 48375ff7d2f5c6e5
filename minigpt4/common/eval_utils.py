"""Helpers that evaluation scripts of MiniGPT-4 import; the project's own use the same code.

They stand in ``common`` because that is where scripts look for them; what they need from further up
is imported when they are called.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from minigpt4.common.boxes import computeIoU
from minigpt4.conversation.prompts import IMAGE_SLOT

if TYPE_CHECKING:
    from minigpt4.conversation.conversation import Conversation

__all__ = [
    "add_fresh",
    "add_resample",
    "computeIoU",
    "eval_parser",
    "init_model",
    "prepare_texts",
]


class _Override(argparse.Action):
    """Turns ``--ckpt FILE`` into ``--options model.ckpt=FILE``."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, values)
        namespace.options = [*(namespace.options or []), f"model.{self.dest}={values}"]


def eval_parser() -> argparse.ArgumentParser:
    """A parser of the words that every evaluation script takes; scripts may add their own."""
    parser = argparse.ArgumentParser(description="Evaluate a vision-language model.")
    parser.add_argument("--cfg-path", required=True, help="configuration file (YAML)")
    parser.add_argument(
        "--options",
        nargs="+",
        action="extend",
        metavar="KEY=VALUE",
        help="override settings, for instance model.ckpt=FILE run.save_path=DIR",
    )
    for key, kind in (("ckpt", str), ("lora_r", int), ("lora_alpha", int)):
        parser.add_argument(
            f"--{key}", type=kind, action=_Override, help=f"short for --options model.{key}=..."
        )
    return parser


def add_fresh(parser: argparse.ArgumentParser) -> None:
    """The word that begins an evaluation anew."""
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="begin anew where answers are there already; they are kept under another name",
    )


def add_resample(parser: argparse.ArgumentParser) -> None:
    """The word that asks again."""
    parser.add_argument(
        "--resample",
        action="store_true",
        help="ask again, with sampling, where an answer cannot be read (at most 20 times)",
    )


def prepare_texts(texts: Sequence[str], conv_temp: Conversation) -> list[str]:
    """The original's evaluation prompts: each text after a picture, in a conversation's template.

    Args:
        texts: Instructions with their tag: ``[vqa] màu của chiếc bình là gì``.
        conv_temp: A template such as ``CONV_VISION_minigptv2``; it is not changed.
    """
    prompts = []
    for text in texts:
        conversation = conv_temp.copy()
        conversation.append_message(conversation.roles[0], f"{IMAGE_SLOT} {text}")
        conversation.append_message(conversation.roles[1], None)
        prompts.append(conversation.get_prompt())
    return prompts


def init_model(args: Any) -> tuple[Any, Any]:
    """Load the model of a configuration for evaluation.

    Args:
        args: Words of ``eval_parser`` (``cfg_path``, ``options``).
    Returns:
        The model on the device of ``run.device``, and the image processor that the first entry of
        ``datasets`` names.
    """
    from minigpt4.common.config import Config
    from minigpt4.tasks.eval_setup import build_processors, load_model

    cfg = Config(args)
    vis_processor, _ = build_processors(cfg, "")
    return load_model(cfg), vis_processor

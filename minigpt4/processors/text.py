"""Text on its way into a prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from minigpt4.common.registry import registry
from minigpt4.common.settings import ProcessorSettings

DEFAULT_WORDS = 50

_PUNCTUATION = str.maketrans(dict.fromkeys('.!"()*#:;~', " "))
_GAPS = re.compile(r"\s{2,}")


@registry.register_processor("blip_caption")
class BlipCaptionProcessor:
    """Lower case, some punctuation to spaces, runs of white space folded, cut at a word count."""

    def __init__(self, prompt: str = "", max_words: int = DEFAULT_WORDS) -> None:
        self.prompt = prompt
        self.max_words = max_words

    @classmethod
    def from_config(
        cls, cfg: ProcessorSettings | Mapping[str, Any] | None = None
    ) -> BlipCaptionProcessor:
        """Build it from ``text_processor.train`` or ``.eval`` of a config."""
        if isinstance(cfg, ProcessorSettings):
            return cls(cfg.prompt, cfg.max_words or DEFAULT_WORDS)
        cfg = cfg or {}
        return cls(cfg.get("prompt") or "", cfg.get("max_words") or DEFAULT_WORDS)

    def __call__(self, text: str) -> str:
        """Clean ``text`` and put the prompt before it; the prompt is left as it is."""
        # A single tab or newline inside stays, as trained weights have seen it.
        cleaned = _GAPS.sub(" ", text.lower().translate(_PUNCTUATION)).rstrip("\n").strip(" ")
        return self.prompt + " ".join(cleaned.split(" ")[: self.max_words])

    def fingerprint(self) -> str:
        """Name what the text depends on."""
        return f"blip-caption-{self.max_words}-{self.prompt}"

"""A model that answers at once, and by rule: it stands for the real one where speed matters."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import torch

from minigpt4.common.settings import ModelSettings
from minigpt4.models.sequence import SequenceBuilder

DEFECT = "<p>bình bị nứt</p>{<10><20><40><50>}"


class LetterTokenizer:
    """One token a letter; ``#`` begins a sequence and ``$`` ends an answer."""

    bos_id = ord("#")
    eos_id = ord("$")

    def encode(self, text: str, *, add_bos: bool = False) -> list[int]:
        return ([self.bos_id] if add_bos else []) + [ord(letter) for letter in text]


class ToyModel:
    """Names the picture's brightness, or a box for ``[detection]``, letter by letter.

    Attributes:
        asked: What each call was given as its text.
        encoded: Pictures encoded so far.
        running: Set while an answer is being made.
        go: Answers wait for it after each letter.
        overlapped: Whether two answers were ever made at once.
    """

    def __init__(self, *, positions: int = 400, prompt_style: str = "training") -> None:
        self.settings = ModelSettings(chat_template=True, end_sym="$", max_context_len=positions)
        self.prompt_style = prompt_style
        self.llama_model = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=1000))
        self.sequences = SequenceBuilder(
            LetterTokenizer(),  # type: ignore[arg-type]
            max_txt_len=100,
            max_context_len=positions,
            end_sym="$",
        )
        self.asked: list[list[str]] = []
        self.encoded = 0
        self.running = threading.Event()
        self.go = threading.Event()
        self.go.set()
        self.overlapped = False
        self._busy = 0

    def encode_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        self.encoded += 1
        return pixel_values.mean(dim=(1, 2, 3)).reshape(-1, 1, 1)

    def project(self, features: torch.Tensor) -> torch.Tensor:
        return features.expand(-1, 4, -1)  # four positions a picture

    def generate_scored(
        self,
        *,
        texts: list[list[str]],
        image_features: torch.Tensor | None,
        streamer: Any,
        max_new_tokens: int,
        **_: Any,
    ) -> list[SimpleNamespace]:
        self._busy += 1
        self.overlapped |= self._busy > 1
        try:
            (turns,) = texts
            self.asked.append(turns)
            answer = self._answer(turns, image_features)[:max_new_tokens]
            for end in range(1, len(answer) + 1):
                self.running.set()
                self.go.wait(timeout=10)
                if streamer is not None:
                    streamer(answer[:end])
            return [SimpleNamespace(text=answer)]
        finally:
            self._busy -= 1
            self.running.clear()

    def _answer(self, turns: list[str], features: torch.Tensor | None) -> str:
        if "crash" in turns[-1]:
            raise RuntimeError("a defect of the program")
        if "[detection]" in turns[-1]:
            return DEFECT
        if features is None:
            return "chào bạn"
        return "ảnh sáng" if features.item() > 0 else "ảnh tối"

"""Sizes at which speed is measured, the same for the project's model and for its peers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """A model and a sample.

    Attributes:
        image_size: Side of the square pictures, in pixels.
        patch: Side of a patch.
        vision_width, vision_depth, vision_heads: The encoder's.
        mlp_ratio: Width of the encoder's MLP over its own.
        merged: Patch tokens that become one.
        hidden, layers, heads, intermediate, vocabulary: The language model's.
        lora_r: Rank of LoRA on the query and value projections.
        instruction: Tokens of the instruction, the picture and BOS not counted.
        answer: Tokens of the answer, its end included.
    """

    image_size: int = 448
    patch: int = 14
    vision_width: int = 384
    vision_depth: int = 6
    vision_heads: int = 6
    mlp_ratio: float = 4.3637
    merged: int = 4
    hidden: int = 512
    layers: int = 8
    heads: int = 8
    intermediate: int = 1376
    vocabulary: int = 32000
    lora_r: int = 64
    instruction: int = 43
    answer: int = 7

    @property
    def patches(self) -> int:
        """Patch tokens of a picture."""
        return (self.image_size // self.patch) ** 2

    @property
    def picture_tokens(self) -> int:
        """Positions that a picture takes in the language model."""
        return self.patches // self.merged

    @property
    def length(self) -> int:
        """Positions of a training sequence."""
        return 1 + self.instruction + self.picture_tokens + self.answer


SIZES = {
    "yardstick": Sizes(),
    # The quick start's language model, behind an encoder of the same kind as above.
    "small": Sizes(
        image_size=224,
        vision_width=192,
        vision_depth=6,
        vision_heads=3,
        hidden=128,
        layers=4,
        heads=4,
        intermediate=352,
        vocabulary=1024,
        lora_r=16,
    ),
}

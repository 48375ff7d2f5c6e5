"""Pictures to tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from minigpt4.common.errors import DataError
from minigpt4.common.registry import registry
from minigpt4.common.settings import ProcessorSettings

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
DEFAULT_SIZE = 224


def load_image(path: str | Path) -> Image.Image:
    """Open a picture and decode it whole, as RGB.

    A rotation noted in EXIF is not applied: boxes are annotated on the stored pixels.

    Args:
        path: A picture of any format and mode that Pillow reads.

    Raises:
        DataError: The file is missing, unreadable, no picture, or cut short.
    """
    try:
        with Image.open(path) as image:
            return to_rgb(image)
    except FileNotFoundError:
        raise DataError(
            f"the picture {path} does not exist: check the image folder in the config and that "
            "the download is complete."
        ) from None
    except IsADirectoryError:
        raise DataError(f"the picture {path} is a folder: name a picture file.") from None
    except PermissionError:
        raise DataError(f"the picture {path} may not be read: change its permissions.") from None
    except UnidentifiedImageError:
        raise DataError(
            f"the file {path} is not a picture that can be read: replace it or remove its entry."
        ) from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"the picture {path} is broken ({error}): fetch it again or remove its entry."
        ) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a picture of any mode to 8-bit RGB, decoding it if that has not happened yet.

    Greyscale of more than 8 bits is scaled down to 8, where Pillow alone would cut off at 255 and
    leave a white picture; transparency is dropped.
    """
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bit(image)
    if image.mode != "RGB":
        return image.convert("RGB")
    image.load()
    return image


def _to_8_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.float64)
    top = values.max(initial=0.0)
    if top > 255:
        values = values / 257  # 65535 becomes 255
    elif image.mode == "F" and top <= 1:
        values = values * 255
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def _resize_square(image: Image.Image, side: int) -> Image.Image:
    """Resize with the same rounding under every version of Pillow.

    Each direction rounds to 8 bits, so the order of the two shows. Pillow chooses it since
    version 13: height first where it shrinks by more than twice what the width does, else width
    first. The reference tensors were made by that rule; two calls of one direction each pin it.
    """
    width, height = image.size
    height_first = height > side and height - side > 2 * (width - side)
    between = (width, side) if height_first else (side, height)
    bicubic = Image.Resampling.BICUBIC
    return image.resize(between, bicubic).resize((side, side), bicubic)


class SquareImageProcessor:
    """Bicubic resize to a square, to a tensor, normalized as CLIP was trained.

    No crop and no flip, so that boxes stay true.
    """

    def __init__(self, image_size: int = DEFAULT_SIZE) -> None:
        self.image_size = image_size
        self._mean = torch.tensor(CLIP_MEAN).view(3, 1, 1)
        self._std = torch.tensor(CLIP_STD).view(3, 1, 1)

    @classmethod
    def from_config(
        cls, cfg: ProcessorSettings | Mapping[str, Any] | None = None
    ) -> SquareImageProcessor:
        """Build it from ``vis_processor.train`` or ``.eval`` of a config."""
        size = (
            cfg.image_size if isinstance(cfg, ProcessorSettings) else (cfg or {}).get("image_size")
        )
        return cls(size or DEFAULT_SIZE)

    def __call__(self, image: Image.Image) -> Tensor:
        """Turn a picture into a tensor.

        Args:
            image: A picture of any mode and size.

        Returns:
            Shape (3, S, S), float32.
        """
        resized = _resize_square(to_rgb(image), self.image_size)
        pixels = torch.from_numpy(np.array(resized))  # (S, S, 3), uint8
        planes = pixels.permute(2, 0, 1).to(torch.float32, memory_format=torch.contiguous_format)
        return planes.div_(255).sub_(self._mean).div_(self._std)

    def fingerprint(self) -> str:
        """Name what the pixels depend on; equal names mean equal tensors for equal pictures."""
        return f"square-bicubic-clip-{self.image_size}"


@registry.register_processor("blip2_image_train")
class Blip2ImageTrainProcessor(SquareImageProcessor):
    """What training pictures pass through; the same as at evaluation."""


@registry.register_processor("blip2_image_eval")
class Blip2ImageEvalProcessor(SquareImageProcessor):
    """What evaluation pictures pass through."""

"""Pictures and texts of a data set brought to the form that the model takes."""

from minigpt4.processors.image import (
    Blip2ImageEvalProcessor,
    Blip2ImageTrainProcessor,
    load_image,
    to_rgb,
)
from minigpt4.processors.text import BlipCaptionProcessor

__all__ = [
    "Blip2ImageEvalProcessor",
    "Blip2ImageTrainProcessor",
    "BlipCaptionProcessor",
    "load_image",
    "to_rgb",
]

"""Searching for an answer, free or within a constraint, over embedded prompts."""

from minigpt4.models.decoding.constrained import decode_constrained
from minigpt4.models.decoding.search import decode
from minigpt4.models.decoding.stepper import Stepper

__all__ = ["Stepper", "decode", "decode_constrained"]

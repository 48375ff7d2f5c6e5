"""Searching for an answer, free or within a constraint, over embedded prompts."""

from minigpt4.models.decoding.constrained import decode_constrained
from minigpt4.models.decoding.search import decode
from minigpt4.models.decoding.stepper import Beginnings, Stepper

__all__ = ["Beginnings", "Stepper", "decode", "decode_constrained"]

"""Searching for an answer, free or within a constraint, over embedded prompts."""

from minigpt4.models.decoding.constrained import decode_constrained
from minigpt4.models.decoding.search import Waiting, decode
from minigpt4.models.decoding.stepper import Beginnings, Stepper

__all__ = ["Beginnings", "Stepper", "Waiting", "decode", "decode_constrained"]

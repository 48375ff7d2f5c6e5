"""What an answer may be: constraints, and their compilation against a vocabulary."""

from minigpt4.models.constraints.answers import AnswerSet
from minigpt4.models.constraints.base import Constraint
from minigpt4.models.constraints.compiled import CompiledConstraint
from minigpt4.models.constraints.grammar import DefectGrammar
from minigpt4.models.constraints.vocabulary import Vocabulary

__all__ = ["AnswerSet", "CompiledConstraint", "Constraint", "DefectGrammar", "Vocabulary"]

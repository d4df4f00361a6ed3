"""Answers that must have a certain form: grammars compiled for a vocabulary, and one answer's way through them."""

from model.constraint.compiler import ConstraintCompiler
from model.constraint.constraint import Constraint
from model.constraint.errors import ConstraintError

__all__ = ["Constraint", "ConstraintCompiler", "ConstraintError"]

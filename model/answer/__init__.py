"""What a model says, told apart: text, thoughts and function calls, read from its token ids as they come."""

from model.answer.pieces import FunctionCall, Piece, Pieces, Text, Thought, joined, visible_text
from model.answer.reader import AnswerReader

__all__ = ["AnswerReader", "FunctionCall", "Piece", "Pieces", "Text", "Thought", "joined", "visible_text"]

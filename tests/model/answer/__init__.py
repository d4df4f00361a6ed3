"""Answers read from token ids."""

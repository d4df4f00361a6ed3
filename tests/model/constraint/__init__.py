"""Tests of constraints: what is taken, what is refused, and what an answer can then be."""

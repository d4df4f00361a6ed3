"""Tests of who starts when a variant is busy."""

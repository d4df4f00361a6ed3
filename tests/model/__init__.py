"""Tests of model/: mirrors its tree."""

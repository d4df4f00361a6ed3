"""Tests of model/preprocess."""

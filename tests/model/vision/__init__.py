"""Tests of model/vision."""

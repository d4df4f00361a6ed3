"""Tests of model/audio."""

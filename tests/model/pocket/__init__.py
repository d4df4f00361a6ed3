"""Tests of model/pocket."""

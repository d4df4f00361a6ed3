"""Tests of the runtime: laws that hold for every request, whatever else is in the batch."""

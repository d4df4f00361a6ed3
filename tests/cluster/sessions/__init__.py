"""Tests of cluster/sessions."""

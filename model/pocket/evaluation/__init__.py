"""Measures the family as a caller would, through gRPC: a program of its own that nothing in model/ imports."""

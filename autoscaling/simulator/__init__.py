"""Replays request traces against a model of a variant, to see what a scaling policy costs and what it keeps."""

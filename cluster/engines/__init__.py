"""Engines: what turns prompt tokens into answer tokens on a replica."""

"""Trains the pocket family from scratch on two CPU cores, with transformers' model class as the network."""

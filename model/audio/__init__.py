"""The audio tower: mel frames of a sound to soft tokens, one for 40 ms."""

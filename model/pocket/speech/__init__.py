"""Speech made by espeak-ng: what the pocket family learns to hear, and a few clips that are shipped."""

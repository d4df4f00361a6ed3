"""The pocket family: four small checkpoints in Gemma 4's format trained, so that their answers mean something."""

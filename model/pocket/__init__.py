"""The pocket family: four small checkpoints in Gemma 4's format that were trained, so that their answers mean something."""

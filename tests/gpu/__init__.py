"""What takes GPUs: every way to run vLLM that a configuration can ask for, and what must come of it."""

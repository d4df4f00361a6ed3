"""vLLM behind the engine interface: the production engine on GPUs, the same code on CPU."""

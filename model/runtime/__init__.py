"""The serving runtime of the native engine: sequences, KV cache, scheduler, sampler, loop."""

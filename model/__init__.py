"""The Gemma 4 family in torch: model, weights, tokenizer and runtime. Imports no ray, grpc or redis."""

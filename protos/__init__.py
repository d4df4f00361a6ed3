"""The public gRPC API and its generated code."""

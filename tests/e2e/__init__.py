"""The whole system as a user runs it: real `up`, real Ray, real Valkey, real gRPC."""

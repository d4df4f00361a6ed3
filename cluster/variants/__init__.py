"""Serve deployments that run the variants."""

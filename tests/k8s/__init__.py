"""Tests of the manifests in k8s/ and of what renders them."""

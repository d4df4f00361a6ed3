"""Kubernetes manifests from the configuration: what `gemma-cluster k8s render` writes."""

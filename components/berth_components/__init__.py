"""Pulumi components that run language models on Kubernetes."""

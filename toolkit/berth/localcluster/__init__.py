"""A real Kubernetes on this machine, from packages."""

"""How each container image is built, with or without a registry."""

"""Policies about GPUs, TPUs and the nodes that have them."""

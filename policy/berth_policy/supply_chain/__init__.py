"""Policies about where images and weights come from."""

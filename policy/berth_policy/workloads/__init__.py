"""Policies about pods and what makes them."""

"""Policies about what a stack may cost."""

"""Policies about who may talk to whom."""

"""Policies about what workloads and people may do."""

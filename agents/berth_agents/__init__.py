"""Processes that run beside model servers in a cluster."""

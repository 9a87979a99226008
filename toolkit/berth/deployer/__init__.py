"""Runs a Pulumi program where there is no Pulumi CLI."""

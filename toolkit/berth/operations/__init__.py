"""Load, and what is done to a stack that runs."""

from berth.operations.completion import Answer, ask

__all__ = ["Answer", "ask"]

"""Load, and what is done to a stack that runs."""

from berth.operations.completion import Answer, ask
from berth.operations.nodes import node_address

__all__ = ["Answer", "ask", "node_address"]

"""What a policy pack must know of a stack, whichever engine runs it."""

from collections.abc import Sequence

import pulumi


class Environment(pulumi.ComponentResource):
    """Which environment a stack is, and what is open; it makes nothing."""

    def __init__(self, environment: str, findings: Sequence[str]) -> None:
        """Declare it: local, development or production; findings as texts."""
        inputs = {"environment": environment, "findings": list(findings)}
        super().__init__("berth:stacks:Environment", "environment", inputs)
        self.register_outputs(inputs)

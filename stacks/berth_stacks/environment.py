"""What a policy pack must know of a stack, whichever engine runs it."""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi


class Environment(pulumi.ComponentResource):
    """Which environment a stack is, what is open and what it costs; it makes nothing."""

    def __init__(self, environment: str, findings: Sequence[str], cost: Mapping[str, float]) -> None:
        """Declare it.

        Args:
            environment: local, development or production.
            findings: what is open, as texts.
            cost: US dollars, as far as they are known: usdPerHourFewest, usdPerHourPlanned, usdPerHourMost,
                usdPerMillionTokens.
        """
        inputs: dict[str, Any] = {"environment": environment, "findings": list(findings)}
        if cost:
            inputs["cost"] = dict(cost)
        super().__init__("berth:stacks:Environment", "environment", inputs)
        self.register_outputs(inputs)

"""What a stack says of its cost: the planner's figures in the resource that says its environment."""

from collections.abc import Mapping
from typing import Any

from berth_policy.environment import TYPE
from berth_policy.subject import Stack, mapping

MOST = "usdPerHourMost"


def told(stack: Stack) -> Mapping[str, Any]:
    """Its figures, in US dollars; none where it says none, as where a price is not known.

    Raises:
        UnknownValueError: the preview does not know them.
    """
    for one in stack.of(TYPE):
        return mapping(one.props.get("cost"))
    return {}

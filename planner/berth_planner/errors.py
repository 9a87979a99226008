"""The one error of the planner."""

from __future__ import annotations


class PlannerError(ValueError):
    """What a person gave is wrong, or cannot be planned; it names file, key, value and what is allowed."""

"""Settings that the plan alone asks for: the load, and findings that somebody goes over by name."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from berth_components.arguments import Refusal

from berth_stacks.fields import Allowed, Number, Settings, Text, Whole, limits


def _day(value: Any) -> str:
    allowed = "a day as year-month-day, in quotes, such as '2027-01-31'"
    if not isinstance(value, str):
        raise Refusal(allowed)
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError:
        raise Refusal(allowed) from None


Day = Annotated[str, Allowed(_day, (("pattern", "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"),))]


class PlannedLoad(Settings):
    """The load of a model at each of its sites, at the busiest."""

    requests_per_second: Annotated[Number, limits(0.001, 100_000, "a number")]
    """Requests per second."""
    input_tokens: Annotated[Whole, limits(1, 10_000_000)]
    """Tokens of a prompt, on average."""
    output_tokens: Annotated[Whole, limits(1, 10_000_000)]
    """Tokens of an answer, on average."""
    utilisation: Annotated[Number, limits(0.05, 1, "a number")] = 0.8
    """Share of a replica's measured throughput that is planned on. Default: 0.8; requests come in bursts."""


class Override(Settings):
    """One finding of the plan that somebody goes over, for a while."""

    finding: Text
    """Its name, as `./berth plan` says it, such as 'aws/chat price'."""
    reason: Text
    """Why it is safe all the same. Every preview shows it."""
    expires: Day
    """The last day that it holds."""

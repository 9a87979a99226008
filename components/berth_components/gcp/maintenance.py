"""When GKE may upgrade a cluster by itself: the window's first occurrence, how it recurs, and when not."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pulumi

from berth_components import checks
from berth_components.arguments import Arguments, Refusal, combine
from berth_components.gcp.cluster_args import GkeMaintenanceExclusionArgs
from berth_components.gcp.shared import needed_input

DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_ROLLING_DAYS = 32
_NEEDED_HOURS = 48
# A Monday; GKE takes a window's first occurrence from it, and it may lie in the past.
_FIRST_MONDAY = datetime(2026, 1, 5, tzinfo=UTC)


@dataclass(frozen=True)
class Exclusion:
    """A time without upgrades."""

    name: pulumi.Input[str]
    start: pulumi.Input[str]
    end: pulumi.Input[str]
    scope: pulumi.Input[str]


@dataclass(frozen=True)
class Maintenance:
    """The first window, when it recurs, and the times without."""

    start: str
    end: str
    recurrence: str
    exclusions: Sequence[Exclusion]


def read_maintenance(given: Arguments) -> Maintenance:
    """Check `GkeMaintenanceArgs`.

    Raises:
        ArgumentError: an argument is not allowed, or the window is too small for GKE.
    """
    clock = checks.text(r"([01][0-9]|2[0-3]):[0-5][0-9]", "a time of day as HH:MM, UTC")
    start = given.plain("start", clock, "02:00")
    hours = given.plain("hours", checks.whole_number(4, 24, "hours: GKE counts no shorter window"), 4)
    usual: Sequence[str] = DAYS[:4]
    chosen = given.plain("days", checks.list_of(checks.choice(*DAYS), at_least=1), usual)
    if _fewest(chosen) * hours < _NEEDED_HOURS:
        raise given.refuse(
            "hours" if "hours" in given else "days",
            hours if "hours" in given else list(chosen),
            f"days and hours that give {_NEEDED_HOURS} hours in any {_ROLLING_DAYS} days",
            f"{hours} h on {', '.join(chosen)} can be {_fewest(chosen) * hours}; GKE refuses that",
        )
    days = [day for day in DAYS if day in chosen]
    begin = _FIRST_MONDAY + timedelta(days=DAYS.index(days[0]), hours=int(start[:2]), minutes=int(start[3:]))
    exclusions = given.groups("exclusions", GkeMaintenanceExclusionArgs)
    if len(exclusions) > 20:  # noqa: PLR2004 - GKE's limit
        raise given.refuse("exclusions", f"{len(exclusions)} of them", "at most 20")
    return Maintenance(
        start=_stamp(begin),
        end=_stamp(begin + timedelta(hours=hours)),
        recurrence=f"FREQ=WEEKLY;BYDAY={','.join(days)}",
        exclusions=[_exclusion(one) for one in exclusions],
    )


def _exclusion(given: Arguments) -> Exclusion:
    start = needed_input(given, "start", _time)
    end = needed_input(given, "end", _time)

    def after(start: str, end: str) -> str:
        if end <= start:
            raise given.refuse("end", repr(end), f"a time after start, {start}")
        return end

    scopes = checks.choice("NO_UPGRADES", "NO_MINOR_UPGRADES", "NO_MINOR_OR_NODE_UPGRADES")
    return Exclusion(
        name=needed_input(given, "name", checks.plain_text),
        start=start,
        end=combine(after, start, end),
        scope=given.read("scope", scopes, "NO_MINOR_OR_NODE_UPGRADES"),
    )


def _time(value: object) -> str:
    refusal = Refusal("a time in UTC such as 2026-12-20T00:00:00Z")
    if not isinstance(value, str) or not re.fullmatch(r"[0-9-]{10}T[0-9:]{8}Z", value):
        raise refusal
    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise refusal from None
    return value


def _stamp(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def _fewest(days: Sequence[str]) -> int:
    """On how many of any 32 days in a row the window is open at least."""
    return min(
        sum(DAYS[(first + offset) % 7] in days for offset in range(_ROLLING_DAYS)) for first in range(7)
    )

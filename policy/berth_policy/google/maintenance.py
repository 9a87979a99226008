"""GKE upgrades production when somebody is there."""

from collections.abc import Iterator

from berth_policy.google._nodes import CLUSTER
from berth_policy.reading import has
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at

_WINDOWS = ("recurringWindow", "dailyMaintenanceWindow")


def check(resource: Resource) -> Iterator[Finding]:
    """Look for a window, and whether it says when."""
    windows = [one for one in _WINDOWS if has(resource.props, "maintenancePolicy", one)]
    if not windows:
        yield Finding("maintenancePolicy names no window, so at any time", "one")
    for one in windows:
        window = at(resource.props, "maintenancePolicy", one)
        missing = [key for key in ("startTime", *_more(one)) if not at(window, key)]
        if missing:
            yield Finding(f"maintenancePolicy.{one} lacks {', '.join(missing)}", "when it begins and ends")


def _more(window: str) -> tuple[str, ...]:
    return ("endTime", "recurrence") if window == "recurringWindow" else ()


RULE = Rule(
    name="gke-maintenance",
    group="google",
    title="A GKE cluster has a maintenance window.",
    why="Google upgrades control plane and nodes at any hour otherwise, and drains what serves.",
    fix="Set maintenancePolicy.recurringWindow to hours in which somebody is there.",
    levels={"local": "disabled", "development": "advisory", "production": "mandatory"},
    types=(CLUSTER,),
    check=check,
)

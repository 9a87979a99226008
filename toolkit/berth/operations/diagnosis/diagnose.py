"""Every check over one snapshot."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from berth.operations.diagnosis import (
    check_care,
    check_cluster,
    check_load,
    check_needs,
    check_placing,
    check_readiness,
    check_scaling,
    check_serving,
    check_starting,
)
from berth.operations.diagnosis.findings import RUNBOOKS, Finding, ordered

if TYPE_CHECKING:
    from collections.abc import Collection

    from berth.operations.diagnosis.facts import Snapshot

_CHECKS = (
    check_cluster,
    check_needs,
    check_placing,
    check_starting,
    check_readiness,
    check_serving,
    check_scaling,
    check_load,
    check_care,
)


def diagnose(seen: Snapshot, runbooks: Collection[str] = ()) -> list[Finding]:
    """Return what was found, causes first; pure.

    Args:
        seen: what was seen.
        runbooks: names of the pages in `docs/runbooks` without `.md`: findings link to those that there are.
    """
    if not seen.reached:
        return ordered(check_cluster.check(seen))
    found = [one for each in _CHECKS for one in each.check(seen)]
    return [_linked(one, runbooks) for one in ordered(found)]


def _linked(one: Finding, runbooks: Collection[str]) -> Finding:
    return replace(one, runbook=f"{RUNBOOKS}/{one.alert}.md") if one.alert in runbooks else one

"""The static part: every chain of a plan, link by link, without any cluster, cloud or account."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from .facts import Facts, Figure, NotKnown, Resource
from .links import LINKS, Check
from .links.budget import figures
from .plan import Plan, Subject
from .verdicts import WORST, Chain, Finding, Link, Proof

if TYPE_CHECKING:
    from collections.abc import Iterable

_ENDPOINT = "aws:sagemaker/endpoint:Endpoint"


def prove(stack: str, resources: Iterable[Resource], facts: Facts) -> Proof:
    """Follow every scale path of a plan.

    Args:
        stack: its name.
        resources: everything that it would deploy.
        facts: what is known beside the plan.
    """
    plan = Plan(tuple(resources), facts)
    subjects = [*plan.subjects()]
    apart = len({one.scaler.cluster for one in subjects}) > 1
    chains = tuple(_chain(subject, apart=apart) for subject in subjects)
    notes = [
        f"{one.title}: SageMaker scales it by its own alarms, on machines that it keeps itself"
        for one in plan.resources
        if one.type == _ENDPOINT
    ]
    if not chains:
        notes.append("nothing in this stack is scaled: no HorizontalPodAutoscaler and no ScaledObject")
    return Proof(stack, chains, tuple(notes))


def _chain(subject: Subject, *, apart: bool) -> Chain:
    links = tuple(_link(name, title, check, subject) for name, title, check in LINKS)
    try:
        pool = subject.selected[0].name if subject.deployment and subject.selected else None
        target = subject.deployment.title if subject.deployment else "not in the plan"
    except NotKnown:
        pool, target = None, "not known"
    # A provider is called by its name in the URN; those of our stacks are <site>-provider.
    cluster = subject.scaler.cluster.rpartition("::")[2].removesuffix("-provider") if apart else ""
    return Chain(subject.scaler.title, target, pool, links, cluster)


def _link(name: str, title: str, check: Check, subject: Subject) -> Link:
    found: list[Finding] = []
    try:
        found.extend(check(subject))
    except NotKnown as missing:
        found.append(Finding("unknown", str(missing), (subject.scaler.title,)))
    except KeyError as missing:
        text = f"an object that it compares lacks {missing.args[0]!r}, without which Kubernetes refuses it"
        found.append(
            Finding("failed", text, (subject.scaler.title,), "set it; `./berth judge` names the object")
        )
    worst = min(WORST.index(finding.verdict) for finding in found)
    kept = [finding for finding in found if WORST.index(finding.verdict) == worst]
    times: tuple[Figure, ...] = ()
    if name == "budget":
        with contextlib.suppress(NotKnown, KeyError):
            times = tuple(figures(subject))
    return Link(name, title, tuple(kept), times)

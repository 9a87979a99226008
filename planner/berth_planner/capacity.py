"""Whether a stack's machines may be had: quotas, zones that offer them, free accelerators of own hardware."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berth_catalogue.machines import DATA_DATE, machines, offered

from berth_planner.answers import MAX_AGE_DAYS, Question
from berth_planner.plan import Check, Section, Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date

    from berth_planner.answers import Answer
    from berth_planner.cost import Fleet

_ASK = "./berth plan --ask, with an account of the cloud"
_SAGEMAKER = "ml."


def capacity(fleets: Sequence[Fleet], answers: Mapping[Question, Answer], today: date) -> Section | None:
    """Quotas, zones and free accelerators at the most machines; None where nothing is rented or counted.

    Args:
        fleets: the stack's machines.
        answers: what clouds and clusters said.
        today: answers that are too old by then are unknown.
    """
    fresh = {key: one for key, one in answers.items() if not one.is_stale(key.kind, today)}
    checks = [check for fleet in fleets for check in _of_fleet(fleet, fleets, fresh)]
    if not checks:
        return None
    return Section(
        subject="capacity",
        title="at the most machines; what else an account runs is counted where the cloud tells it",
        checks=tuple(checks),
        figures=(),
    )


def allowed_machines(
    fleet: Fleet, fleets: Sequence[Fleet], answers: Mapping[Question, Answer], today: date
) -> tuple[int, str] | None:
    """How many machines of a fleet its quota allows, beside all others of the stack at their most.

    Returns:
        The number and which quota says so; None where no quota applies, or nobody said.
    """
    fresh = {key: one for key, one in answers.items() if not one.is_stale(key.kind, today)}
    question = quota_question(fleet)
    answer = fresh.get(question) if question else None
    if question is None or answer is None:
        return None
    needs = {one.subject: _need(one, answer.unit, fresh) for one in _sharing(question, answer, fleets, fresh)}
    own = needs[fleet.subject]
    if not own or any(need is None for need in needs.values()):
        return None
    others = sum(need or 0 for need in needs.values()) - own
    left = answer.amount - (answer.used or 0) - others
    text = f"'{answer.names[0]}' is {answer.amount:g} {answer.unit}; {answer.source}, {answer.day}"
    return max(0, int(left // (own / fleet.most))), text


def quota_question(fleet: Fleet) -> Question | None:
    """What to ask of a quota; None where none applies: own hardware, reserved, Google's plain machines."""
    key = fleet.key
    if key.ground == "own" or key.capacity == "reserved" or (key.ground == "gcp" and not fleet.accelerator):
        return None
    return Question("quota", key.ground, key.region, key.machine, key.capacity, fleet.account)


def offer_question(fleet: Fleet) -> Question | None:
    """What to ask of an offer; None without accelerators, and on SageMaker, whose quotas say it."""
    key = fleet.key
    if key.ground == "own" or not fleet.accelerator or key.machine.startswith(_SAGEMAKER):
        return None
    return Question("offer", key.ground, key.region, key.machine, "", fleet.account)


def vcpus_question(fleet: Fleet) -> Question | None:
    """What to ask of a machine's vCPUs, which AWS' quotas count; None where the catalogue says it."""
    key = fleet.key
    known = key.machine in machines("aws") or key.machine.startswith(_SAGEMAKER)
    if key.ground != "aws" or known or quota_question(fleet) is None:
        return None
    return Question("vcpus", "aws", key.region, key.machine)


def free_question(fleet: Fleet) -> Question | None:
    """What to ask of an own cluster; None where nothing of its accelerators is wanted."""
    key = fleet.key
    if key.ground != "own" or not fleet.accelerator:
        return None
    return Question("free", "own", key.region, key.machine)


def _of_fleet(fleet: Fleet, fleets: Sequence[Fleet], answers: Mapping[Question, Answer]) -> Iterator[Check]:
    if question := quota_question(fleet):
        yield _quota(fleet, question, fleets, answers)
    if question := offer_question(fleet):
        yield _offer(fleet, question, answers)
    if question := free_question(fleet):
        yield _free(fleet, question, answers)


def _quota(
    fleet: Fleet, question: Question, fleets: Sequence[Fleet], answers: Mapping[Question, Answer]
) -> Check:
    """One quota is shared by several machines: what all of the stack's need of it counts."""
    answer = answers.get(question)
    if answer is None:
        return _unknown(
            fleet,
            "quota",
            f"not asked for {fleet.key}",
            f"enough for {fleet.most} of them",
            f"a quota counts for {MAX_AGE_DAYS['quota']} days",
        )
    sharing = _sharing(question, answer, fleets, answers)
    needs = [_need(one, answer.unit, answers) for one in sharing]
    parts = ", ".join(f"{one.most} x {one.key.machine}" for one in sharing)
    name, unit = answer.names[0], answer.unit
    if any(need is None for need in needs):
        return _unknown(fleet, "quota", f"vCPUs of one of {parts}", "a figure", f"'{name}' counts vCPUs")
    needed = sum(need or 0 for need in needs)
    left = answer.amount - (answer.used or 0)
    used = "what runs already is not counted" if answer.used is None else f"{answer.used:g} are used"
    return Check(
        subject=fleet.subject,
        name="quota",
        status="passed" if needed <= left else "failed",
        found=f"'{name}' is {answer.amount:g} {unit}; {used}",
        wanted=f"{needed:g} {unit} at the most, for {parts}",
        why=f"{answer.source}, {answer.day}",
        remedy=f"ask {_CLOUDS[question.ground]} for more in {question.place}, or lower the most replicas",
    )


def _sharing(
    question: Question, answer: Answer, fleets: Sequence[Fleet], answers: Mapping[Question, Answer]
) -> list[Fleet]:
    """The fleets that count against the same quota."""
    return [
        one
        for one in fleets
        if (other := quota_question(one)) is not None
        and (other.place, other.account) == (question.place, question.account)
        and (found := answers.get(other)) is not None
        and found.names == answer.names
    ]


_CLOUDS = {"aws": "AWS (Service Quotas)", "gcp": "Google (Quotas, in the console)"}


def _need(fleet: Fleet, unit: str, answers: Mapping[Question, Answer]) -> float | None:
    if unit == "instances":
        return fleet.most
    if unit == "accelerators":
        return fleet.most * fleet.accelerators
    known = machines("aws").get(fleet.key.machine)
    if known is not None:
        return fleet.most * known.vcpus
    question = vcpus_question(fleet)
    answer = answers.get(question) if question else None
    return None if answer is None else fleet.most * answer.amount


def _offer(fleet: Fleet, question: Question, answers: Mapping[Question, Answer]) -> Check:
    answer = answers.get(question)
    if answer is not None:
        return _zones(fleet, answer.names, f"{answer.source}, {answer.day}")
    machine = machines(question.ground).get(question.machine)
    zones = offered(machine, question.place) if machine else None
    if zones and question.ground == "gcp":
        return _zones(fleet, zones, f"the catalogue's data of {DATA_DATE}")
    why = "AWS gives its zones to accounts under different names, so only your account can say it"
    if question.ground == "gcp":
        why = f"the catalogue's data of {DATA_DATE} do not say it"
    return _unknown(fleet, "offer", f"not asked for {question.machine}", _wanted(fleet), why)


def _zones(fleet: Fleet, zones: Sequence[str], why: str) -> Check:
    there = [zone for zone in zones if not fleet.zones or zone in fleet.zones]
    listed = ", ".join(sorted(zones)) or f"no zone of {fleet.key.region}"
    status: Status = "passed" if there else "failed"
    return Check(
        subject=fleet.subject,
        name="offer",
        status=status,
        found=f"{fleet.key.machine} in {listed}",
        wanted=_wanted(fleet),
        why=why,
        remedy="zones that have it, another machine, or another region",
    )


def _wanted(fleet: Fleet) -> str:
    return f"at least one of {', '.join(fleet.zones)}" if fleet.zones else f"a zone of {fleet.key.region}"


def _free(fleet: Fleet, question: Question, answers: Mapping[Question, Answer]) -> Check:
    answer = answers.get(question)
    needed = fleet.wanted_accelerators
    wanted = f"{needed} at the most replicas"
    if answer is None:
        why = "accelerators that are free change from day to day, so an answer counts for one"
        remedy = "./berth plan --ask, where the kubeconfig reaches the cluster"
        return _unknown(fleet, "free", "the cluster was not asked", wanted, why, remedy)
    free = answer.amount - (answer.used or 0)
    return Check(
        subject=fleet.subject,
        name="free",
        status="passed" if needed <= free else "failed",
        found=f"{free:g} free of {answer.amount:g} {answer.unit}",
        wanted=wanted,
        why=f"{answer.source}, {answer.day}; what this stack itself holds counts as free",
        remedy="fewer replicas, more nodes, or free some: ./berth doctor says who holds them",
    )


def _unknown(fleet: Fleet, name: str, found: str, wanted: str, why: str, remedy: str = _ASK) -> Check:  # noqa: PLR0917 - the fields of a check, in its order
    return Check(
        subject=fleet.subject,
        name=name,
        status="unknown",
        found=found,
        wanted=wanted,
        why=why,
        remedy=remedy,
    )

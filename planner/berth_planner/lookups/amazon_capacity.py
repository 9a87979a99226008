"""Quotas of AWS, and the zones that offer a machine.

    ask(fleets, Clients.of_profile(), date.today())

Needs servicequotas:ListServiceQuotas, ec2:DescribeInstanceTypeOfferings and ec2:DescribeInstanceTypes, which
change nothing. Quotas are found by their names, which list the families that share them: "Running On-Demand G
and VT instances", "All P5 Spot Instance Requests", "ml.g6e.xlarge for endpoint usage".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from berth_planner.answers import Answer, Question
from berth_planner.capacity import offer_question, quota_question, vcpus_question
from berth_planner.errors import PlannerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import date

    from berth_planner.cost import Fleet
    from berth_planner.lookups.amazon import Clients

_ON_DEMAND = re.compile(r"Running On-Demand (?P<families>.+) instances", re.IGNORECASE)
_SPOT = re.compile(r"All (?P<families>.+) Spot Instance Requests", re.IGNORECASE)
_FAMILY = re.compile(r"(?P<letters>[a-z]+)(?P<generation>\d*)")
_WORD = re.compile(r"\b[A-Z][A-Za-z]{0,3}\d*\b")
_STANDARD = "Standard"
_SAGEMAKER = "ml."
_SERVICE_QUOTAS = "AWS Service Quotas"


def ask(fleets: Iterable[Fleet], clients: Clients, today: date) -> dict[Question, Answer]:
    """Ask AWS about a stack's machines. What it has no answer to is left out.

    Raises:
        PlannerError: AWS cannot be asked: no credentials, no permission, no network.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - only who asks needs it

    questions = {
        question: look
        for fleet in fleets
        if fleet.key.ground == "aws"
        for make, look in _LOOKS
        if (question := make(fleet)) is not None
    }
    kept: dict[tuple[str, str], dict[str, float]] = {}
    found: dict[Question, Answer] = {}
    for question, look in questions.items():
        try:
            answer = look(question, clients, kept, today)
        except (BotoCoreError, ClientError) as error:
            raise PlannerError(
                f"AWS cannot be asked for the {question.kind} of {question.machine} in {question.place}: "
                f"{' '.join(str(error).split())}; are there credentials (aws configure) with "
                "servicequotas:ListServiceQuotas, ec2:DescribeInstanceTypeOfferings and "
                "ec2:DescribeInstanceTypes?"
            ) from None
        if answer is not None:
            found[question] = answer
    return found


_Kept = dict[tuple[str, str], dict[str, float]]


def _quota(question: Question, clients: Clients, kept: _Kept, today: date) -> Answer | None:
    sagemaker = question.machine.startswith(_SAGEMAKER)
    service = "sagemaker" if sagemaker else "ec2"
    listed = kept.get((service, question.place))
    if listed is None:
        pages = (
            clients.quotas(question.place).get_paginator("list_service_quotas").paginate(ServiceCode=service)
        )
        listed = {one["QuotaName"]: one["Value"] for page in pages for one in page["Quotas"]}
        kept[service, question.place] = listed
    if sagemaker:
        name: str | None = f"{question.machine} for endpoint usage"
        unit = "instances"
    else:
        name, unit = quota_name(question.machine, question.capacity, listed), "vCPUs"
    if name is None or name not in listed:
        return None
    return Answer(listed[name], None, unit, (name,), _SERVICE_QUOTAS, today)


def quota_name(machine: str, capacity: str, names: Iterable[str]) -> str | None:
    """The quota of EC2 that a machine counts against, among the names that an account has.

    A family that is named with its generation (P5) goes before one without (P); None where two are alike.
    """
    family = _FAMILY.match(machine)
    if family is None:
        return None
    letters, generation = family["letters"].upper(), family["generation"]
    pattern = _SPOT if capacity == "spot" else _ON_DEMAND
    best: dict[int, list[str]] = {}
    for name in names:
        shared = pattern.fullmatch(name)
        if shared is None:
            continue
        words = {word.upper() for word in _WORD.findall(shared["families"]) if word != _STANDARD}
        if letters + generation in words:
            best.setdefault(2, []).append(name)
        elif letters in words:
            best.setdefault(1, []).append(name)
    found = best.get(2) or best.get(1) or []
    return found[0] if len(found) == 1 else None


def _offer(question: Question, clients: Clients, _: _Kept, today: date) -> Answer | None:
    pages = (
        clients.ec2(question.place)
        .get_paginator("describe_instance_type_offerings")
        .paginate(
            LocationType="availability-zone",
            Filters=[{"Name": "instance-type", "Values": [question.machine]}],
        )
    )
    zones = sorted(one["Location"] for page in pages for one in page["InstanceTypeOfferings"])
    return Answer(0, None, "", tuple(zones), "EC2's offerings", today)


def _vcpus(question: Question, clients: Clients, _: _Kept, today: date) -> Answer | None:
    asked = clients.ec2(question.place).describe_instance_types(InstanceTypes=[question.machine])
    vcpus: Any = asked["InstanceTypes"][0]["VCpuInfo"]["DefaultVCpus"]
    return Answer(float(vcpus), None, "vCPUs", (), "EC2's instance types", today)


_LOOKS: tuple[
    tuple[
        Callable[[Fleet], Question | None],
        Callable[[Question, Clients, _Kept, date], Answer | None],
    ],
    ...,
] = ((quota_question, _quota), (offer_question, _offer), (vcpus_question, _vcpus))

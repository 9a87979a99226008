"""AWS: one IAM policy for the planned resources, as narrow as their names allow."""

from __future__ import annotations

import json
import re
import string
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from .data import Needs, aws, aws_actions, aws_arns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from berth.deployer import Step

_UNKNOWN = re.compile(r"\[(?:unknown|secret)\]")
_ANY = "*"
_PASS, _LINK = "iam:PassRole", "iam:CreateServiceLinkedRole"
_PROVIDER = "pulumi:providers:aws"
_ROLE = "aws:iam/role:Role"
_AUTOMATIC = ("name", "nodeGroupName")  # inputs that a provider fills where the program does not
_GLOBAL = ("iam:", "route53:")  # these services answer from one region, whatever the request's


@dataclass(frozen=True)
class Statement:
    """One statement: actions on resources, under conditions."""

    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Mapping[str, Mapping[str, list[str]]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The statement as IAM writes it, without its Sid."""
        shown: dict[str, Any] = {
            "Effect": "Allow",
            "Action": list(self.actions),
            "Resource": list(self.resources),
        }
        if self.conditions:
            shown["Condition"] = {key: dict(value) for key, value in self.conditions.items()}
        return shown


@dataclass
class _Place:
    """Where the resources are: what ARNs are filled with."""

    regions: list[str]
    account: str
    names: dict[str, list[str]] = field(default_factory=dict)  # by placeholder: every name that is planned
    by_urn: dict[str, str] = field(default_factory=dict)  # each named resource's own name
    trusted: dict[str, str] = field(default_factory=dict)  # by a planned role's name: its trust policy

    def partition(self, region: str = "") -> str:
        """The part of AWS that a region is in; without one, the first region's."""
        inside = region if region not in {"", _ANY} else next(iter(self.regions), "")
        return {"cn": "aws-cn", "us-gov": "aws-us-gov"}.get(re.sub(r"-[a-z]+-\d$", "", inside), "aws")


def derive(
    steps: list[Step],
    config: Mapping[str, str],
    account: str | None,
    unknown: list[str],
    notes: list[str],
) -> list[Statement]:
    """Statements for every AWS resource of a plan; what cannot be known is added to `unknown`."""
    resources = [step for step in steps if step.custom and step.type in aws().types]
    looked_up = [step.type for step in steps if step.type in aws().lookups]
    if not resources and not looked_up:
        return []
    place = _Place(_regions(steps, config), account or _account(steps))
    if not place.regions:
        unknown.append(
            "AWS: the region, which no provider and no `aws:region` says; the policy allows every region"
        )
    if place.account == _ANY:
        unknown.append(
            "AWS: the account (give --account to narrow the ARNs to it; a policy works in its own anyway)"
        )
    for step in resources:
        _collect(step, aws().types[step.type], place)
    grants: dict[tuple[str, ...], _Grant] = {}
    for step in resources:
        for grant in _grants(step, aws().types[step.type], place):
            _merge(grants, grant)
    for token in looked_up:
        for action in aws().lookups[token]:
            _merge(grants, _Grant(action, set(_arns(action, "", (), {}, place)), {}))
    open_ended = sorted({_kind_of(arn) for one in grants.values() for arn in one.resources if _open(arn)})
    if open_ended:
        unknown.append(
            f"AWS: identifiers that AWS gives when it makes the resource: {', '.join(open_ended)}. They "
            "stand as * in the ARNs; narrow them after the first `up`, or by tags"
        )
    notes.append(
        "AWS: what the cluster's own nodes and pods need is in the roles that the stack makes, not here"
    )
    return _grouped(grants.values(), place)


@dataclass
class _Grant:
    """One action, on what, under which conditions."""

    action: str
    resources: set[str]
    conditions: dict[str, dict[str, set[str]]]


def _regions(steps: Iterable[Step], config: Mapping[str, str]) -> list[str]:
    named = [str(step.inputs.get("region") or "") for step in steps if step.type == _PROVIDER]
    found = {name for name in [*named, config.get("aws:region", "")] if name and not _UNKNOWN.search(name)}
    return sorted(found)


def _account(steps: Iterable[Step]) -> str:
    """The account that every provider is limited to, where there is one."""
    found: set[str] = set()
    for step in steps:
        allowed = step.inputs.get("allowedAccountIds") if step.type == _PROVIDER else None
        ids = json.loads(allowed) if isinstance(allowed, str) and allowed.startswith("[") else allowed
        found.update(str(one) for one in ids or ())
    return found.pop() if len(found) == 1 else _ANY


def _collect(step: Step, needs: Needs, place: _Place) -> None:
    """Remember how a planned resource is called, for the ARNs of others that name it."""
    own = _own_placeholder(needs.extra["is"])
    value = own and _name(step, needs, own)
    if not value:
        return
    place.by_urn[step.urn] = value
    place.names.setdefault(own, [])
    if value not in place.names[own]:
        place.names[own].append(value)
    policy = step.inputs.get("assumeRolePolicy") if step.type == _ROLE else None
    if isinstance(policy, str) and not _UNKNOWN.search(policy):
        place.trusted[value] = policy


def _own_placeholder(kind: str) -> str:
    """The placeholder that is a kind's own name: the last one that is no generated identifier."""
    inside = [one for one in re.findall(r"\$\{(\w+)\}", aws_arns()[kind]) if one != "UUID"]
    return inside[-1] if inside and inside[-1] not in {"Partition", "Region", "Account"} else ""


def _name(step: Step, needs: Needs, placeholder: str) -> str | None:
    """What an input says a placeholder is; None where no input is meant for it."""
    key = needs.extra.get("names", {}).get(placeholder)
    if key is None:
        return None
    if key.startswith("="):
        return str(key[1:])
    value = step.inputs.get(key)
    if value is None and key in _AUTOMATIC:
        # Pulumi's providers call a resource without a name <its name in the program>-<7 hexadecimal digits>.
        value = step.inputs.get(f"{key}Prefix", f"{step.name}-")
        value = f"{value}*" if isinstance(value, str) else None
    if not isinstance(value, str) or not value or _UNKNOWN.search(value):
        return None
    return value.partition("/")[2] if value.startswith("arn:") else value


def _grants(step: Step, needs: Needs, place: _Place) -> Iterator[_Grant]:
    wanted = [action for actions in needs.by_verb.values() for action in actions]
    for key, actions in needs.when.items():
        if step.inputs.get(key) not in (None, False, [], {}):
            wanted += actions
    names: dict[str, list[str]] = {}
    for placeholder, key in needs.extra.get("names", {}).items():
        value = _name(step, needs, placeholder)
        found = [value] if value is not None else _referred(step, key, place)
        if found:
            names[placeholder] = found
    own, touches = needs.extra["is"], tuple(needs.extra.get("touches", ()))
    for action in dict.fromkeys(wanted):
        limits = needs.extra.get("limits", {}).get(action, {})
        conditions = {
            "StringEquals" if not key.endswith(("ARN", "Arn")) else "ArnEquals": {key: {str(value)}}
            for key, source in limits.items()
            if isinstance(value := step.inputs.get(source), str) and not _UNKNOWN.search(value)
        }
        yield _Grant(action, set(_arns(action, own, touches, names, place)), conditions)
    for key, service in needs.extra.get("passes", {}).items():
        if step.inputs.get(key) is None:
            continue
        passed = {"StringEquals": {"iam:PassedToService": {service}}}
        yield _Grant(_PASS, _roles(step, key, service, place), passed)
    if linked := needs.extra.get("linked"):
        role = f"arn:{place.partition()}:iam::{place.account}:role/aws-service-role/{linked}/*"
        yield _Grant(_LINK, {role}, {"StringEquals": {"iam:AWSServiceName": {linked}}})


def _referred(step: Step, key: str, place: _Place) -> list[str]:
    """The names of the planned resources whose outputs are in an input."""
    return [place.by_urn[urn] for urn in step.references.get(key, ()) if urn in place.by_urn]


def _roles(step: Step, key: str, service: str, place: _Place) -> set[str]:
    """The roles that an input holds: by ARN, by reference, else all that the plan makes for the service."""
    value = step.inputs[key]
    if isinstance(value, str) and value.startswith("arn:"):
        return {value}
    named = place.names.get("RoleNameWithPath", [])
    roles = [name for name in _referred(step, key, place) if name in named]
    trusting = [name for name in named if f'"{service}"' in place.trusted.get(name, f'"{service}"')]
    chosen = roles or trusting or named
    return set(_filled("iam:role", {"RoleNameWithPath": chosen} if chosen else {}, place))


def _arns(
    action: str, own: str, touches: tuple[str, ...], names: Mapping[str, list[str]], place: _Place
) -> Iterator[str]:
    """The resources that an action is to be allowed on; `*` where AWS checks it for none."""
    checked = aws_actions()[action]
    kinds = set(checked.needs) | ({own} & set(checked.may)) | (set(touches) & set(checked.may))
    for kind in kinds or set(checked.may):
        yield from _filled(kind, names, place)
    if not kinds and not checked.may:
        yield _ANY


def _filled(kind: str, names: Mapping[str, list[str]], place: _Place) -> Iterator[str]:
    """A kind's ARNs, with every name that a placeholder may stand for."""
    template = aws_arns()[kind]
    choices: list[dict[str, str]] = [{}]
    for placeholder in re.findall(r"\$\{(\w+)\}", template):
        if placeholder in {"Partition", "Region", "Account"}:
            continue
        found = names.get(placeholder) or place.names.get(placeholder) or [_ANY]
        choices = [{**choice, placeholder: value} for choice in choices for value in found]
    for region in (place.regions or [_ANY]) if "${Region}" in template else [""]:
        fixed = {"Partition": place.partition(region), "Region": region, "Account": place.account}
        for choice in choices:
            yield string.Template(template).substitute({**choice, **fixed})


def _merge(grants: dict[tuple[str, ...], _Grant], grant: _Grant) -> None:
    """Add to the grant of the same action under the same sort of conditions; without one stays without."""
    shape = tuple(f"{op} {key}" for op, inner in grant.conditions.items() for key in inner)
    values = tuple(sorted(v for inner in grant.conditions.values() for vs in inner.values() for v in vs))
    # A role may be passed to one service only: so conditions of different values are never mixed there.
    key = (grant.action, *shape, *(values if grant.action in {_PASS, _LINK} else ()))
    kept = grants.setdefault(key, _Grant(grant.action, set(), {}))
    kept.resources |= grant.resources
    for op, inner in grant.conditions.items():
        for name, some in inner.items():
            kept.conditions.setdefault(op, {}).setdefault(name, set()).update(some)


def _grouped(grants: Iterable[_Grant], place: _Place) -> list[Statement]:
    """Statements: actions with the same resources and conditions together, and what can share one."""
    groups: dict[tuple[str, str, tuple[str, ...]], set[str]] = {}
    for grant in grants:
        resources = tuple(sorted(grant.resources))
        conditions = {op: {k: sorted(v) for k, v in inner.items()} for op, inner in grant.conditions.items()}
        if resources == (_ANY,) and place.regions and not grant.action.startswith(_GLOBAL):
            conditions.setdefault("StringEquals", {})["aws:RequestedRegion"] = place.regions
        service = "" if resources == (_ANY,) else grant.action.partition(":")[0]
        key = (service, json.dumps(conditions, sort_keys=True), resources)
        groups.setdefault(key, set()).add(grant.action)
    shared: list[tuple[str, str, set[str], set[str]]] = []
    for (service, under, resources), actions in sorted(groups.items()):
        for kept in shared:
            if kept[:2] == (service, under) and _may_share(kept[2:], (actions, set(resources))):
                kept[2].update(actions)
                kept[3].update(resources)
                break
        else:
            shared.append((service, under, set(actions), set(resources)))
    statements = [
        Statement(tuple(sorted(actions)), tuple(sorted(resources)), json.loads(under))
        for _, under, actions, resources in shared
    ]
    return sorted(statements, key=lambda one: (one.actions, one.resources))


def _may_share(one: tuple[set[str], set[str]], other: tuple[set[str], set[str]]) -> bool:
    """Whether two groups allow no more in one statement: AWS checks an action for its own kinds only."""
    return _ANY not in one[1] | other[1] and all(
        not any(_is_checked(action, arn) for action in actions for arn in foreign - own)
        for actions, own, foreign in ((*one, other[1]), (*other, one[1]))
    )


def _is_checked(action: str, arn: str) -> bool:
    checked = aws_actions()[action]
    return any(_shape(kind).fullmatch(arn) for kind in (*checked.needs, *checked.may))


@cache
def _shape(kind: str) -> re.Pattern[str]:
    """What an ARN of a kind looks like."""
    return re.compile(re.sub(r"\\\$\\\{\w+\\\}", ".*", re.escape(aws_arns()[kind])))


def _open(arn: str) -> bool:
    return arn != _ANY and arn.split(":", 5)[-1].endswith(("/*", ":*")) and "aws-service-role" not in arn


def _kind_of(arn: str) -> str:
    _, _, service, _, _, rest = arn.split(":", 5)
    return f"{service}:{re.split(r'[/:]', rest)[0]}"

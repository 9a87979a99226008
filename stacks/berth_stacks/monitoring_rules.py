"""What is wrong, or still open, in the settings of monitoring."""

from collections.abc import Collection, Iterator

from berth_components.monitoring.monitoring import OF_OPERATOR
from berth_components.monitoring.routes import unheard

from berth_stacks import monitoring_parts
from berth_stacks.errors import Path, Problem, nearest
from berth_stacks.findings import Finding
from berth_stacks.settings import Stack

_GROUP = "monitoring"
_SECRETS = "monitoringSecrets"
_ALERT_SECRETS = "alertSecrets"
_SET = "pulumi config set --secret --path 'berth:{}'"


def monitoring_problems(
    stack: Stack, alerting: Collection[str], beside: Collection[str]
) -> Iterator[Problem]:
    """Every rule that the settings of monitoring break.

    Args:
        stack: the settings.
        alerting: names of the receivers' secrets that are given.
        beside: names of the other secrets that are given.
    """
    monitoring = stack.monitoring
    if monitoring.mode == "none":
        for key, value in monitoring.model_dump(exclude_defaults=True, by_alias=True).items():
            remedy = "set mode to bundled or operator, or remove it"
            yield Problem((_GROUP, key), f"is {_shown(value)}, and mode is none", "nothing", remedy)
        return
    if (monitoring.mode == "operator") != (monitoring.operator is not None):
        said = "is missing" if monitoring.operator is None else "is given"
        yield Problem((_GROUP, "operator"), said, "only with mode operator, and needed there")
    yield from _parts(stack)
    for key in monitoring.objectives:
        if key not in stack.models:
            remedy = nearest(key, [*stack.models])
            allowed = "one of " + ", ".join(stack.models)
            yield Problem((_GROUP, "objectives", key), "is for no model", allowed, remedy)
    used = {"grafana", "remoteWrite", "collector"}
    for name in sorted(set(beside) - used):
        allowed = "one of " + ", ".join(sorted(used))
        yield Problem((_SECRETS, name), "does not exist", allowed, nearest(name, sorted(used)))
    for name in sorted(set(alerting) - set(monitoring.receivers)):
        allowed = "one of " + (", ".join(monitoring.receivers) or "none: there are no receivers")
        yield Problem((_ALERT_SECRETS, name), "is for no receiver", allowed)


def _parts(stack: Stack) -> Iterator[Problem]:
    monitoring = stack.monitoring
    parts = monitoring.parts
    if parts is not None:
        for i, one in enumerate(parts):
            path: Path = (_GROUP, "parts", i)
            if monitoring.mode == "operator" and one not in OF_OPERATOR:
                allowed = "one of " + ", ".join(OF_OPERATOR)
                yield Problem(path, f"is {one}", allowed, "the operator's own stack brings it")
            if one in parts[:i]:
                yield Problem(path, f"is {one} again", "each part once")
        needs = {"log-shipper": "collector", "grafana": "prometheus", "alertmanager": "prometheus"}
        for one, other in needs.items():
            if one in parts and other not in parts:
                yield Problem((_GROUP, "parts"), f"has {one} without {other}", "both", f"add {other}")
    there = monitoring_parts.everywhere(stack)
    for name in ("prometheus", "alertmanager", "grafana", "collector"):
        if getattr(monitoring, name) is not None and name not in there:
            yield Problem((_GROUP, name), "is given", f"only with the part {name}", "add it to parts")
    if monitoring.receivers and "alertmanager" not in there:
        yield Problem((_GROUP, "receivers"), "is given", "only with the part alertmanager")


def monitoring_findings(
    stack: Stack, alerting: Collection[str], beside: Collection[str]
) -> Iterator[Finding]:
    """What is open in the settings of monitoring, which are right."""
    monitoring = stack.monitoring
    there = monitoring_parts.everywhere(stack)
    if "grafana" in there and "grafana" not in beside:
        text = "is missing: " + _SET.format(f"{_SECRETS}.grafana") + ' "$(openssl rand -hex 16)"'
        yield Finding((_SECRETS, "grafana"), text, "everywhere")
    for name, receiver in monitoring.receivers.items():
        if receiver.receiver(name).secret and name not in alerting:
            text = f"is missing: {_SET.format(f'{_ALERT_SECRETS}.{name}')}"
            yield Finding((_ALERT_SECRETS, name), text, "everywhere")
    if "alertmanager" in there and stack.environment != "local":
        receivers = [one.receiver(name) for name, one in monitoring.receivers.items()]
        in_production = stack.environment == "production"
        owners = {one.owner for one in monitoring.objectives.values() if one.owner}
        for owner in sorted({monitoring.owner, *owners}):
            if lost := unheard(receivers, owner):
                severities = " and ".join(lost)
                text = f"tells nobody of {owner}'s alerts of severity {severities}: name who is told"
                yield Finding((_GROUP, "receivers"), text, "production" if in_production else "nothing")


def _shown(value: object) -> str:
    return "given" if isinstance(value, dict | list) else repr(value)

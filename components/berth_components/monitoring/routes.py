"""Who is told of an alert: Alertmanager's configuration from typed receivers.

    alertmanager_config([Receiver(name="on-call", kind="pagerduty", severities=("page",)), …])

Each alert goes to every receiver whose severities and owners hold its own. What it needs to know in secret (a
URL, a key, a password) is a file named like the receiver in `secrets`; the configuration itself has none.

Pages are grouped by what is broken, tickets by site, so that one failure is one message. What follows from
something else is silenced while that fires: everything at a site that is down, budgets of a model that is
unavailable, a ticket beside a page on the same thing.

Opsgenie is no kind: Atlassian sells it no more (since June 2025) and ends it in April 2027. Its successor
takes the webhook's and the email's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from berth_components.monitoring.alert import INFO, PAGE, TICKET, duration
from berth_components.monitoring.alerts_monitoring import WATCHDOG

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS = ("webhook", "slack", "pagerduty", "email")
SECRETS = "/etc/alertmanager/secrets"
NOBODY = "nobody"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_HOUR = 3600
_TEXT = (
    "{{ range .Alerts }}{{ .Annotations.summary }}\n{{ .Annotations.description }}\n"
    "Runbook: {{ .Annotations.runbook_url }}\n{{ end }}"
)
_SAME_THING = ("alertname", "slo", "site", "namespace", "model", "variant", "pod", "node", "instance")
_FOLLOWS_FROM_UNAVAILABLE = (
    "AvailabilityBudgetBurn|ErrorBudgetBurn|FirstTokenBudgetBurn|InterTokenBudgetBurn|QueueWaitBudgetBurn"
    "|EngineNotReady|EngineLost|ReplicasMissing|QueueFull|SlotsSaturated|AutoscalerAtMaximum"
)


class ReceiverError(ValueError):
    """A receiver that cannot be meant; names it, the value, and what is allowed.

    Attributes:
        key: what of it.
        allowed: what would be accepted.
    """

    def __init__(self, receiver: str, key: str, given: str, allowed: str) -> None:
        super().__init__(f"receiver {receiver!r}: {key} {given}; allowed: {allowed}")
        self.key = key
        self.allowed = allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Who is told, and of what.

    Attributes:
        name: also of the file with its secret: a webhook's or Slack's URL, PagerDuty's routing key, the
            password of the mail server.
        kind: of `KINDS`.
        severities: of page, ticket and info.
        owners: labels `owner` of its alerts; none is all.
        deadman: whether it gets the dead-man's switch instead, every minute: it raises an alarm when that
            stops. Only a webhook.
        channel: Slack's, such as #on-call.
        to: addresses of an email.
        sender: who it is from.
        smarthost: the mail server, host:port.
        username: at the mail server; "" for none, and then there is no secret.
    """

    name: str
    kind: str
    severities: tuple[str, ...] = (PAGE, TICKET)
    owners: tuple[str, ...] = ()
    deadman: bool = False
    channel: str = ""
    to: str = ""
    sender: str = ""
    smarthost: str = ""
    username: str = ""

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            ReceiverError: something is missing, unknown, or belongs to another kind.
        """
        if not _NAME.fullmatch(self.name) or self.name == NOBODY:
            self._refuse("name", self.name, f"lower-case letters, digits and '-', not '{NOBODY}'")
        if self.kind not in KINDS:
            self._refuse("kind", self.kind, "one of " + ", ".join(KINDS))
        known = (PAGE, TICKET, INFO)
        if not self.severities or not set(self.severities) <= set(known):
            self._refuse("severities", ", ".join(self.severities), "some of " + ", ".join(known))
        if self.deadman and self.kind != "webhook":
            self._refuse("deadman", "true", "only with kind webhook")
        for one in self.owners:
            if not re.fullmatch(r"[A-Za-z0-9_.-]+", one):
                self._refuse("owners", one, "letters, digits, '_', '.' and '-'")
        needed = {"slack": ("channel",), "email": ("to", "sender", "smarthost")}.get(self.kind, ())
        for key in ("channel", "to", "sender", "smarthost", "username"):
            value = getattr(self, key)
            if key in needed and not value:
                self._refuse(key, "", f"a value: kind {self.kind} needs it")
            if value and key not in needed and not (key == "username" and self.kind == "email"):
                self._refuse(key, value, f"nothing with kind {self.kind}")

    @property
    def secret(self) -> bool:
        """Whether it has a secret."""
        return self.kind != "email" or bool(self.username)

    def _refuse(self, key: str, value: str, allowed: str) -> None:
        raise ReceiverError(self.name, key, f"is {value!r}", allowed)


def alertmanager_config(
    receivers: Sequence[Receiver], *, secrets: str = SECRETS, pending_scale: float = 1.0
) -> dict[str, Any]:
    """Alertmanager's configuration (0.26 and newer).

    Args:
        receivers: who is told; with none, alerts are shown by Alertmanager and sent nowhere.
        secrets: the folder of their secrets.
        pending_scale: what the times are multiplied by that messages are held back; 1 is for production.

    Raises:
        ReceiverError: two have one name.
    """
    names = [one.name for one in receivers]
    for name in names:
        if names.count(name) > 1:
            raise ReceiverError(name, "name", "is there twice", "each name once")

    def after(seconds: float) -> str:
        return duration(max(1, seconds * pending_scale))

    routes = [
        {
            "receiver": one.name,
            "matchers": [f'alertname="{WATCHDOG}"'],
            "group_by": ["site"],
            "group_wait": "0s",
            "group_interval": after(60),
            "repeat_interval": after(60),
            "continue": True,
        }
        for one in receivers
        if one.deadman
    ]
    routes.append({"receiver": NOBODY, "matchers": [f'alertname="{WATCHDOG}"']})
    for one in receivers:
        if one.deadman:
            continue
        owners = [f'owner=~"{"|".join(one.owners)}"'.replace(".", "[.]")] if one.owners else []
        routes += [
            {
                "receiver": one.name,
                "matchers": [f'severity="{severity}"', *owners],
                **_pace(severity, after),
                "continue": True,
            }
            for severity in one.severities
        ]
    return {
        "route": {"receiver": NOBODY, "group_by": ["alertname", "site"], "routes": routes},
        "inhibit_rules": _inhibitions(),
        "receivers": [{"name": NOBODY}, *(_receiver(one, f"{secrets}/{one.name}") for one in receivers)],
    }


def unheard(receivers: Sequence[Receiver], owner: str) -> list[str]:
    """Severities of an owner's alerts that reach nobody."""
    told = {
        severity
        for one in receivers
        if not one.deadman and (not one.owners or owner in one.owners)
        for severity in one.severities
    }
    return [severity for severity in (PAGE, TICKET) if severity not in told]


def _pace(severity: str, after: Any) -> dict[str, Any]:
    """Pages soon and each broken thing on its own; tickets gathered."""
    if severity == PAGE:
        return {
            "group_by": ["alertname", "site", "namespace", "model"],
            "group_wait": after(15),
            "group_interval": after(60),
            "repeat_interval": "4h",
        }
    return {
        "group_by": ["alertname", "site"],
        "group_wait": after(60),
        "group_interval": after(600),
        "repeat_interval": "1d",
    }


def _inhibitions() -> list[dict[str, Any]]:
    server = ["site", "namespace", "model", "variant"]
    return [
        {
            "source_matchers": ['alertname="SiteDown"'],
            # A router at this site may pass requests on to others: what it says is told all the same.
            "target_matchers": ['alertname!~"SiteDown|Router.+|Hybrid.+"', 'severity=~"page|ticket|info"'],
            "equal": ["site"],
        },
        {
            "source_matchers": ['alertname="RouterNoBackend"'],
            "target_matchers": ['alertname=~"RouterBackendDown|RouterErrors|RouterRetries"'],
            "equal": ["site", "namespace", "router"],
        },
        {
            "source_matchers": ['alertname="ModelUnavailable"'],
            "target_matchers": [f'alertname=~"{_FOLLOWS_FROM_UNAVAILABLE}"'],
            "equal": server,
        },
        {
            "source_matchers": ['severity="page"'],
            "target_matchers": ['severity="ticket"'],
            "equal": [*_SAME_THING],
        },
        {
            "source_matchers": ['alertname="EngineCrashLooping"'],
            "target_matchers": ['alertname=~"EngineLost|EngineNotReady"'],
            "equal": [*server, "pod"],
        },
        {
            "source_matchers": ['alertname="NodeDiskFull"'],
            "target_matchers": ['alertname="NodeDiskFilling"'],
            "equal": ["site", "node", "mountpoint"],
        },
        {
            "source_matchers": ['alertname="NodeNotReady"'],
            "target_matchers": ['alertname=~"Node.+|Gpu.+|TargetDown"', 'alertname!="NodeNotReady"'],
            "equal": ["site", "node"],
        },
    ]


def _receiver(one: Receiver, secret: str) -> dict[str, Any]:
    if one.kind == "webhook":
        how: dict[str, Any] = {"url_file": secret}
    elif one.kind == "slack":
        how = {
            "api_url_file": secret,
            "channel": one.channel,
            "title": "{{ .Status | toUpper }} {{ .CommonLabels.severity }}: {{ .CommonLabels.alertname }}",
            "text": _TEXT,
        }
    elif one.kind == "pagerduty":
        how = {
            "routing_key_file": secret,
            "description": "{{ .CommonLabels.alertname }}: {{ (index .Alerts 0).Annotations.summary }}",
            "severity": '{{ if eq .CommonLabels.severity "page" }}critical{{ else }}warning{{ end }}',
        }
    else:
        login = {"auth_username": one.username, "auth_password_file": secret} if one.username else {}
        how = {
            "to": one.to,
            "from": one.sender,
            "smarthost": one.smarthost,
            **login,
            "headers": {"Subject": "{{ .Status | toUpper }} {{ .CommonLabels.alertname }}"},
            "text": _TEXT,
        }
    return {"name": one.name, f"{one.kind}_configs": [{"send_resolved": not one.deadman, **how}]}


__all__ = ["KINDS", "NOBODY", "SECRETS", "Receiver", "ReceiverError", "alertmanager_config", "unheard"]

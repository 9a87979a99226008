"""Cases of test_effects.py: the settings of monitoring, each on a stack that has all of it."""

from __future__ import annotations

from effect_frames import GPU_MODEL, OWN, OWN_POOL, RESOURCES, Json, stack_of

PASSWORD = {"berth:monitoringSecrets": '{"grafana": "a-password-of-nobody"}'}
_PLACE = {"namespace": "elsewhere", "port": 4318}
_RANGE = {"cidr": "198.18.5.0/24", "port": 443}
_MONITORING: Json = {"mode": "bundled"}
_FILTERS = [
    {
        "name": "refusals",
        "category": "refusal",
        "action": "flag",
        "stages": ["output"],
        "pattern": {"regex": "I cannot"},
    }
]
STACK: Json = {
    **stack_of(
        {"here": {**OWN, "pools": {"main": OWN_POOL}}},
        {"chat": {**GPU_MODEL, "gateway": {"costPerHour": 1, "filters": _FILTERS}}},
    ),
    "monitoring": _MONITORING,
}
_OPERATOR = {"mode": "operator", "operator": {"namespace": "monitoring", "labels": {"release": "a"}}}
_EMAIL = {
    "kind": "email",
    "to": "a@example.com",
    "sender": "b@example.com",
    "smarthost": "mail.example.com:587",
    "username": "b",
}


def _receiver(**more: object) -> Json:
    return {"receivers": {"team": {"kind": "webhook", **more}}}


def _baseline(**more: object) -> Json:
    return {"objectives": {"chat": {"baseline": more}}}


_WRITE = {"prometheus": {"remoteWrite": {"url": "https://a.example/w", "egress": _RANGE}}}
_BACKEND = {"collector": {"backend": {"endpoint": "https://a.example", "egress": _RANGE}}}
_FLAGS = {"filters": {"refusals/output/flag": 0.1}}

# Path → another value, and what it needs before, below `monitoring`.
CASES: dict[str, tuple[object, Json]] = {
    "mode": (None, {}),
    "parts": (["prometheus"], {}),
    "namespace": ("watch", {}),
    "agentsNamespace": ("agents", {}),
    "operator.namespace": ("elsewhere", _OPERATOR),
    "operator.labels": ({"release": "b"}, _OPERATOR),
    "scrapeSeconds": (30, {}),
    "storageClass": ("fast", {}),
    "viewers.cidrs": (["198.18.7.0/24"], {}),
    "viewers.namespaces": (["people"], {}),
    "apiServerCidrs": (["198.18.0.1/32"], {}),
    "prometheus.retentionDays": (30, {}),
    "prometheus.storage": ("40Gi", {}),
    "prometheus.remoteWrite.url": ("https://b.example/w", _WRITE),
    "prometheus.receiver": (True, {}),
    "prometheus.nodePort": (30091, {}),
    "alertmanager.egress": ([_RANGE], {}),
    "alertmanager.replicas": (3, {}),
    "alertmanager.storage": ("2Gi", {}),
    "alertmanager.externalUrl": ("https://alerts.example", {}),
    "alertmanager.nodePort": (30094, {}),
    "grafana.storage": ("4Gi", {}),
    "grafana.externalUrl": ("https://grafana.example", {}),
    "collector.backend.endpoint": ("https://b.example", _BACKEND),
    "collector.slowSeconds": (3, {}),
    "collector.normalPercent": (5, {}),
    "collector.longestSeconds": (300, {}),
    "collector.retentionDays": (2, {}),
    "collector.storage": ("20Gi", {}),
    "receivers.team.kind": (_EMAIL, _receiver()),
    "receivers.team.severities": (["page"], _receiver()),
    "receivers.team.owners": (["research"], _receiver()),
    "receivers.team.deadman": (True, _receiver()),
    "receivers.team.channel": ("#b", _receiver(kind="slack", channel="#a")),
    "receivers.team.to": ("c@example.com", {"receivers": {"team": _EMAIL}}),
    "receivers.team.sender": ("c@example.com", {"receivers": {"team": _EMAIL}}),
    "receivers.team.smarthost": ("c.example.com:587", {"receivers": {"team": _EMAIL}}),
    "receivers.team.username": ("c", {"receivers": {"team": _EMAIL}}),
    "alertDelay": (0.5, {}),
    "owner": ("research", {}),
    "runbooks": ("https://git.example.com/docs/runbooks", {}),
    "objectives.chat.owner": ("research", {}),
    "objectives.chat.notWatched": (["availability"], {}),
    "objectives.chat.windowDays": (28, {}),
    "objectives.chat.availability": (0.99, {}),
    "objectives.chat.errorRatio": (0.01, {}),
    "objectives.chat.firstTokenP95Seconds": (1, {}),
    "objectives.chat.firstTokenP99Seconds": (4, {}),
    "objectives.chat.interTokenSeconds": (0.1, {}),
    "objectives.chat.interTokenTarget": (0.95, {}),
    "objectives.chat.queueWaitSeconds": (4, {}),
    "objectives.chat.queueWaitTarget": (0.95, {"objectives": {"chat": {"queueWaitSeconds": 4}}}),
    "objectives.chat.safety": (0.99, {}),
    "objectives.chat.costPerRequestDollars": (0.01, {}),
    "objectives.chat.costPerDayDollars": (10, {}),
    "objectives.chat.leastFailures": (9, {}),
    "objectives.chat.baselineDays": (14, {}),
    "objectives.chat.baseline.answerTokens": ({"1": 0.2}, _baseline(answerTokens={"1": 0.1})),
    "objectives.chat.baseline.perplexity": ({"2": 0.2}, _baseline(perplexity={"2": 0.1})),
    "objectives.chat.baseline.refusals": (0.2, _baseline(refusals=0.1)),
    "objectives.chat.baseline.filters": ({"refusals/output/flag": 0.2}, _baseline(**_FLAGS)),
    "objectives.chat.driftDistance": (0.3, {}),
    "objectives.chat.driftShare": (0.1, {}),
    "objectives.chat.leastAnswers": (300, {}),
}  # fmt: skip
_AMOUNTS = {"cpuRequest": "333m", "cpuLimit": "2", "memoryRequest": "100Mi", "memoryLimit": "333Mi"}
for _app in ("prometheus", "alertmanager", "grafana", "collector"):
    for _key, _value in _AMOUNTS.items():
        CASES[f"{_app}.resources.{_key}"] = (_value, {_app: {"resources": RESOURCES}})
for _path, _whole in (
    ("prometheus.remoteWrite.egress", {"url": "https://a.example/w"}),
    ("collector.backend.egress", {"endpoint": "https://a.example"}),
):
    _app, _group = _path.split(".")[:2]
    CASES[f"{_path}.namespace"] = ("other", {_app: {_group: {**_whole, "egress": _PLACE}}})
    CASES[f"{_path}.cidr"] = ("198.18.6.0/24", {_app: {_group: {**_whole, "egress": _RANGE}}})
    CASES[f"{_path}.port"] = (444, {_app: {_group: {**_whole, "egress": _RANGE}}})
CASES |= {
    "alertmanager.egress.0.namespace": ("other", {"alertmanager": {"egress": [_PLACE]}}),
    "alertmanager.egress.0.cidr": ("198.18.6.0/24", {"alertmanager": {"egress": [_RANGE]}}),
    "alertmanager.egress.0.port": (444, {"alertmanager": {"egress": [_RANGE]}}),
}


def before(inner: str, needs: Json) -> Json:
    """What a case begins with: few parts, since each is some twenty objects."""
    if inner in {"mode", "parts", "agentsNamespace"} or needs.get("mode") == "operator":
        return needs
    first = {"receivers": "alertmanager", "alertDelay": "alertmanager"}.get(inner.partition(".")[0], inner)
    part = first.partition(".")[0]
    others = [part] if part in {"alertmanager", "grafana", "collector"} else []
    return {"parts": ["prometheus", *others], **needs}


def path_of(inner: str) -> str:
    """A case's path as the settings have it."""
    return "monitoring." + ".".join(
        "*" if part in {"0", "team", "chat"} else part for part in inner.split(".")
    )

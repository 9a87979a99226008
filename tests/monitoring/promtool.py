"""Cases for promtool: series that make an alert fire, and series that do not."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml
from berth_components.monitoring.facts import JOBS, Parts, Server
from berth_components.monitoring.objectives import Objectives
from berth_components.monitoring.rules import rule_groups
from berth_images.programs import programs

if TYPE_CHECKING:
    from pathlib import Path

CHAT = Server(
    site="aws",
    namespace="berth-prod",
    model="chat",
    name="chat",
    engine="vllm",
    slots=16,
    places=128,
    min_replicas=2,
    max_replicas=4,
    by_queue=True,
    gpus=1,
    accelerator="nvidia-l4",
    spot=True,
    priced=True,
    filtered=True,
    refusals=True,
    tls=True,
    startup_seconds=900,
)
NIGHT = Server(
    site="aws",
    namespace="berth-prod",
    model="night",
    name="night",
    engine="llama.cpp",
    slots=4,
    places=16,
    min_replicas=0,
    max_replicas=2,
    startup_seconds=60,
)
"""One that its router wakes."""
STATED = Objectives(
    first_token_p95_seconds=1,
    queue_wait_seconds=1,
    safety=0.99,
    cost_per_request_dollars=0.01,
    cost_per_day_dollars=100,
    least_answers=50,
)
EVERYTHING = Parts(jobs=frozenset(JOBS), evaluation_seconds=60, remote_write=True)
_RECORDED = re.compile(r"(?:server|router):[a-z0-9_]+:[a-z0-9_]+")


def groups() -> list[dict[str, Any]]:
    """Every rule that there can be, of a server that is always there and of one that sleeps."""
    return rule_groups([CHAT, NIGHT], {"chat": STATED}, EVERYTHING)


@dataclass(frozen=True)
class Case:
    """What a rule does with some series.

    Attributes:
        alert: its name.
        severity: its severity.
        fires: series by selector, in promtool's notation, one value a minute; the alert fires at the end.
        silent: the same; it does not.
        minutes: when to look.
        labels: further labels that tell the rule from others of its name.
    """

    alert: str
    severity: str
    fires: dict[str, str]
    silent: dict[str, str]
    minutes: int = 60
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, ...]:
        """What rule it is about."""
        return (self.alert, self.severity, *(self.labels.get(key, "") for key in ("slo", "window", "job")))


def rule_key(rule: dict[str, Any]) -> tuple[str, ...]:
    """The same of a rule."""
    labels = rule["labels"]
    return (rule["alert"], labels["severity"], *(labels.get(key, "") for key in ("slo", "window", "job")))


def gateway(name: str, pod: str = "chat-1", **labels: str) -> str:
    """A series of one of the server's gateways."""
    own = {"job": "berth-gateway", **CHAT.labels, "pod": pod, "instance": f"{pod}:9000", **labels}
    return series(name, **own)


def series(name: str, **labels: str) -> str:
    """A series."""
    return name + "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}"


def needed(case: Case) -> list[dict[str, Any]]:
    """The groups with the rule that a case is about and what it is computed from, and nothing else."""
    known = groups()
    wanted, names = set(), {case.alert}
    while names - wanted:
        wanted |= names
        for rule in (rule for group in known for rule in group["rules"]):
            if rule.get("alert", rule.get("record")) in wanted:
                names |= set(_RECORDED.findall(rule["expr"]))
    slo = case.labels.get("slo")

    def kept(rule: dict[str, Any]) -> bool:
        about = rule.get("labels", {}).get("slo", slo)
        return rule.get("alert", rule.get("record")) in wanted and about == slo

    chosen = [{**group, "rules": [one for one in group["rules"] if kept(one)]} for group in known]
    return [group for group in chosen if group["rules"]]


def run(cases: list[Case], folder: Path) -> subprocess.CompletedProcess[str]:
    """Ask promtool about all of them."""
    files = []
    for number, case in enumerate(cases):
        rules = folder / f"rules-{number}.yaml"
        rules.write_text(yaml.safe_dump({"groups": needed(case)}, sort_keys=False))
        labels = {"alertname": case.alert, "severity": case.severity, **case.labels}
        chosen = ",".join(f'{key}="{value}"' for key, value in labels.items())
        asked = f'count(ALERTS{{alertstate="firing",{chosen}}}) > 0'
        tests = [
            {
                "name": f"{case.alert} {case.severity} {case.labels} {word}",
                "interval": "1m",
                "input_series": [{"series": key, "values": value} for key, value in given.items()],
                "promql_expr_test": [
                    {
                        "expr": f"{asked} or vector(0)" if not expected else f"{asked} > bool 0",
                        "eval_time": f"{case.minutes}m",
                        "exp_samples": [{"value": expected}],
                    }
                ],
            }
            for word, given, expected in (("fires", case.fires, 1), ("is silent", case.silent, 0))
        ]
        file = folder / f"test-{number}.yaml"
        document = {"rule_files": [rules.name], "evaluation_interval": "1m", "tests": tests}
        file.write_text(yaml.safe_dump(document, sort_keys=False))
        files.append(file.name)
    return subprocess.run(
        [programs() / "promtool", "test", "rules", *files],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )

"""Do our rules of Pod Security say what the reference evaluator says?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from berth_policy import pack, workloads
from berth_policy.run import Run
from berth_policy.testing import Given, check, given
from berth_policy.testing.resources import PROJECT, STACK

from .errors import JudgeError
from .podsecurity import reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_AT_ONCE = 10  # more takes longer: the runtime looks through all for each


@dataclass(frozen=True)
class Pod:
    """A pod that both judge."""

    name: str
    """For people."""
    metadata: dict[str, Any]
    spec: dict[str, Any]

    def alone(self, name: str) -> Given:
        """As a Pod."""
        metadata = {**self.metadata, "name": name}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": self.spec}
        return given("kubernetes:core/v1:Pod", name, body)

    def deployed(self, name: str) -> Given:
        """As the template of a Deployment."""
        labels = {**(self.metadata.get("labels") or {}), "app": "x"}
        template = {"metadata": {**self.metadata, "labels": labels}, "spec": self.spec}
        body = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": template},
        }
        return given("kubernetes:apps/v1:Deployment", name, body)


@dataclass(frozen=True)
class Agreement:
    """How many pods both judged, and where they differ, one line each."""

    judged: int
    differences: tuple[str, ...]


def compare(
    program: Path, pods: Sequence[Pod], *, deployed: bool = False, versions: Sequence[str] = ("",)
) -> Agreement:
    """Ask both about ``pods``; the reference refuses what its rules of any of ``versions`` refuse.

    What is no pod at all, so that an API server would not take it, is left out.

    Raises:
        JudgeError: a rule of ours raised, or could not judge.
    """
    asked = [(one.metadata, one.spec) for one in pods]
    answers = [reference(program, asked, version) for version in versions]
    resources = [
        pod.deployed(str(number)) if deployed else pod.alone(str(number)) for number, pod in enumerate(pods)
    ]
    judged, differences = 0, []
    for pod, ours, *verdicts in zip(pods, _refused(resources), *answers, strict=True):
        if any(verdict.error for verdict in verdicts):
            continue
        judged += 1
        reasons = sorted({reason for verdict in verdicts for reason in verdict.restricted})
        if bool(ours) != bool(reasons):
            differences.append(f"{pod.name}: ours {sorted(ours)}, the reference {reasons}")
    return Agreement(judged, tuple(differences))


def _refused(resources: Sequence[Given]) -> Iterator[frozenset[str]]:
    """Which rules of "restricted" each resource breaks."""
    rules = tuple(rule for rule in pack.rules() if rule.name in workloads.POD_SECURITY)
    for start in range(0, len(resources), _AT_ONCE):
        some = resources[start : start + _AT_ONCE]
        results = check(pack.policies(Run(), rules), some)
        if unsaid := results.broken | results.unevaluated:
            raise JudgeError(f"rules that could not judge: {', '.join(sorted(unsaid))}")
        broken: dict[str, set[str]] = {one.urn_in(STACK, PROJECT): set() for one in some}
        for result in results:
            if result.urn in broken:
                broken[result.urn].add(result.policy)
        yield from map(frozenset, broken.values())

"""Our rules and the reference evaluator agree: on its authors' fixtures, and on mutants of our own pods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from berth import judges
from berth_policy import pack, workloads
from berth_policy.run import Run
from berth_policy.testing import Given, check, given, mutate
from berth_policy.testing.resources import PROJECT, STACK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

Json = dict[str, Any]
# Since 1.35 a pod in a user namespace may run as root; 1.34 refuses it, so our rules do.
CLUSTERS = ("v1.34", "v1.35")
SECURITY = frozenset({"securityContext", "volumes", "ports", "hostNetwork", "hostPID", "hostIPC"})


@dataclass(frozen=True)
class Pod:
    name: str
    metadata: Json
    spec: Json

    def alone(self, name: str) -> Given:
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "x", **self.metadata},
            "spec": self.spec,
        }
        return given("kubernetes:core/v1:Pod", name, body)

    def in_a_deployment(self, name: str) -> Given:
        labels = {**(self.metadata.get("labels") or {}), "app": "x"}
        template = {"metadata": {**self.metadata, "labels": labels}, "spec": self.spec}
        body = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": template},
        }
        return given("kubernetes:apps/v1:Deployment", name, body)


def refused(resources: Sequence[Given]) -> Iterator[frozenset[str]]:
    """Which of our rules of "restricted" each resource breaks."""
    rules = tuple(rule for rule in pack.rules() if rule.name in workloads.POD_SECURITY)
    for start in range(0, len(resources), 40):
        some = resources[start : start + 40]
        results = check(pack.policies(Run(), rules), some)
        assert results.broken == results.unevaluated == frozenset()
        broken: dict[str, set[str]] = {one.urn_in(STACK, PROJECT): set() for one in some}
        assert len(broken) == len(some)
        for result in results:
            if result.urn in broken:
                broken[result.urn].add(result.policy)
        yield from map(frozenset, broken.values())


def disagreements(
    program: Path, pods: Sequence[Pod], *, deployed: bool, versions: Sequence[str] = ("",)
) -> tuple[int, list[str]]:
    """How many pods both judged, and on which they differ; the reference is strict where a version is."""
    wrong = []
    judged = 0
    asked = [(one.metadata, one.spec) for one in pods]
    answers = [judges.reference(program, asked, version) for version in versions]
    resources = [
        pod.in_a_deployment(str(number)) if deployed else pod.alone(str(number))
        for number, pod in enumerate(pods)
    ]
    for pod, ours, *verdicts in zip(pods, refused(resources), *answers, strict=True):
        if any(verdict.error for verdict in verdicts):
            continue  # the API server would not take it: nothing to agree about
        judged += 1
        reasons = {reason for verdict in verdicts for reason in verdict.restricted}
        if bool(ours) != bool(reasons):
            wrong.append(f"{pod.name}: ours {sorted(ours)}, the reference {sorted(reasons)}")
    return judged, wrong


def test_there_is_a_rule_for_every_control() -> None:
    assert {rule.name for rule in pack.rules()} >= set(workloads.POD_SECURITY)


def test_the_evaluator_agrees_with_its_own_fixtures(program: Path) -> None:
    fixtures = judges.fixtures(program)
    verdicts = judges.reference(program, [(one.metadata, one.spec) for one in fixtures])
    wrong = [
        one.name
        for one, verdict in zip(fixtures, verdicts, strict=True)
        if verdict.error or one.passes == bool(verdict.restricted)
    ]
    assert wrong == []
    assert sum(one.passes for one in fixtures) == 23
    assert len(fixtures) == 99


@pytest.mark.parametrize("deployed", [False, True], ids=["pods", "deployments"])
def test_our_rules_agree_with_every_fixture(program: Path, deployed: bool) -> None:
    pods = [Pod(one.name, one.metadata, one.spec) for one in judges.fixtures(program)]
    judged, wrong = disagreements(program, pods, deployed=deployed)
    assert wrong == []
    assert judged == 99


def mutants(name: str, metadata: Json, spec: Json, *, about: frozenset[str] = frozenset()) -> Iterator[Pod]:
    """Mutants of a pod; only those whose path has a word of ``about``, where it has any."""
    for mutant in mutate(given("x", "x", {"metadata": metadata, "spec": spec})):
        if about and not about & set(mutant.path):
            continue
        inputs = mutant.resource.inputs
        found, left = inputs.get("metadata"), inputs.get("spec")
        if isinstance(found, dict) and isinstance(left, dict):
            yield Pod(f"{name}, {mutant.description}", found, left)


def test_our_rules_agree_on_mutants_of_the_fixtures(program: Path) -> None:
    pods = [
        pod
        for one in judges.fixtures(program)
        if one.passes
        for pod in mutants(one.name, one.metadata, one.spec)
    ]
    judged, wrong = disagreements(program, pods, deployed=True, versions=CLUSTERS)
    assert wrong == []
    assert judged > 1000


def test_our_rules_agree_on_mutants_of_what_we_ship(program: Path, manifests: list[judges.Manifest]) -> None:
    shapes: dict[frozenset[str], judges.PodTemplate] = {}
    for template in judges.pod_templates(manifests):
        shapes.setdefault(frozenset(one["name"] for one in template.spec["containers"]), template)
    assert len(shapes) >= 4
    pods = [
        pod for one in shapes.values() for pod in mutants(one.object, one.metadata, one.spec, about=SECURITY)
    ]
    judged, wrong = disagreements(program, pods, deployed=False, versions=CLUSTERS)
    assert wrong == []
    assert judged > 150

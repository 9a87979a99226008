"""Our rules and the reference evaluator agree: on its authors' fixtures, and on mutants of our own pods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from berth import judges
from berth.judges.agreement import Pod, compare
from berth_policy import pack, workloads
from berth_policy.testing import given, mutate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Json = dict[str, Any]
# Since 1.35 a pod in a user namespace may run as root; 1.34 refuses it, so our rules do.
CLUSTERS = ("v1.34", "v1.35")
SECURITY = frozenset({"securityContext", "volumes", "ports", "hostNetwork", "hostPID", "hostIPC"})


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
    found = compare(program, pods, deployed=deployed)
    assert found.differences == ()
    assert found.judged == 99


def test_a_difference_is_found_both_ways(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fixtures = {one.name: one for one in judges.fixtures(program)}
    bad, good = fixtures["fail/sysctls0"], fixtures["pass/sysctls0"]
    pods = [Pod(one.name, one.metadata, one.spec) for one in (bad, good)]
    monkeypatch.setattr(workloads, "POD_SECURITY", ("pods-privileged",))
    [difference] = compare(program, pods).differences
    assert difference.startswith("fail/sysctls0: ours [], the reference ['forbidden sysctls")
    # A rule that is none of "restricted" refuses what the reference lets pass.
    monkeypatch.setattr(workloads, "POD_SECURITY", ("pods-sysctls", "pods-resources"))
    [difference] = compare(program, pods).differences
    assert difference.startswith("pass/sysctls0: ours ['pods-resources'], the reference []")


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
    found = compare(program, pods, deployed=True, versions=CLUSTERS)
    assert found.differences == ()
    assert found.judged > 1000


def test_our_rules_agree_on_mutants_of_what_we_ship(program: Path, manifests: list[judges.Manifest]) -> None:
    shapes: dict[frozenset[str], judges.PodTemplate] = {}
    for template in judges.pod_templates(manifests):
        shapes.setdefault(frozenset(one["name"] for one in template.spec["containers"]), template)
    assert len(shapes) >= 4
    pods = [
        pod for one in shapes.values() for pod in mutants(one.object, one.metadata, one.spec, about=SECURITY)
    ]
    found = compare(program, pods, versions=CLUSTERS)
    assert found.differences == ()
    assert found.judged > 150

"""Other people's judges find nothing in the shipped stacks that is not excepted, and each of them bites."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from berth import judges

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Json = dict[str, Any]


def changed(
    manifests: list[judges.Manifest], stack: str, object_: str, change: Callable[[Json], object]
) -> list[judges.Manifest]:
    """The manifests with one object changed."""
    found = []
    hit = 0
    for manifest in manifests:
        if (manifest.stack, manifest.object) == (stack, object_):
            body = copy.deepcopy(manifest.body)
            change(body)
            found.append(dataclasses.replace(manifest, body=body))
            hit += 1
        else:
            found.append(manifest)
    assert hit == 1
    return found


def of(manifests: list[judges.Manifest], stack: str) -> list[judges.Manifest]:
    return [manifest for manifest in manifests if manifest.stack == stack]


def gateway(deployment: Json) -> Json:
    containers: list[Json] = deployment["spec"]["template"]["spec"]["containers"]
    return containers[0]


def test_every_judge_over_every_stack(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "berth.cli", "judge", "--json"],
        cwd=root, capture_output=True, text=True, check=False, timeout=1500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    said = json.loads(done.stdout)
    verdicts = {verdict["judge"]: verdict for verdict in said["verdicts"]}
    assert said["ok"]
    assert len(said["stacks"]) >= 6
    assert set(verdicts) == {"pod-security", "schemas", "checkov", "connections"}
    for verdict in verdicts.values():
        assert verdict["ok"], verdict
        assert verdict["version"] not in {"", "unknown"}
        assert verdict["judged"] > 15
        assert all(len(one["reason"]) > 40 for one in verdict["excepted"])
    # What waits for a registry's answer is said to wait, and only images do.
    assert {one["check"] for one in verdicts["checkov"]["excepted"] if one["open"]} == {"CKV_K8S_43"}


def test_the_matrix_of_one_stack(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "berth.cli", "judge", "local", "--matrix"],
        cwd=root, capture_output=True, text=True, check=False, timeout=1500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "mutants that weaken safety" in done.stdout
    assert done.stdout.count("99 of 99 fixtures of the reference agree") == 2
    assert re.search(r"^ {4}workloads +\d+ +\d+ +\d+ +\d+$", done.stdout, re.MULTILINE)
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_evaluator_sees_a_looser_security_context(
    manifests: list[judges.Manifest], exceptions: judges.Exceptions, program: Path
) -> None:
    assert judges.judge_pods(manifests, exceptions, program).ok
    worse = changed(
        manifests,
        "local",
        "Deployment berth-local/smollm2",
        lambda body: gateway(body)["securityContext"].update(allowPrivilegeEscalation=True),
    )
    verdict = judges.judge_pods(worse, exceptions, program)
    assert [(one.check, one.object) for one in verdict.findings] == [
        ("admission", "Deployment berth-local/smollm2"),
        ("restricted", "Deployment berth-local/smollm2"),
    ]
    assert "allowPrivilegeEscalation" in verdict.findings[1].message


def test_a_namespace_that_enforces_nothing_is_found(
    manifests: list[judges.Manifest], exceptions: judges.Exceptions, program: Path
) -> None:
    worse = changed(
        manifests, "local", "Namespace berth-local", lambda body: body["metadata"].update(labels={})
    )
    verdict = judges.judge_pods(worse, exceptions, program)
    assert [one.check for one in verdict.findings] == ["namespace"]
    assert "enforces nothing" in verdict.findings[0].message


def test_the_evaluator_does_not_pass_over_a_field_that_does_not_exist(
    manifests: list[judges.Manifest], program: Path
) -> None:
    worse = changed(
        manifests,
        "local",
        "Deployment berth-local/smollm2",
        lambda body: gateway(body).update(securityContexts={}),
    )
    with pytest.raises(judges.JudgeError, match="securityContexts"):
        judges.judge_pods(worse, judges.Exceptions(), program)


def test_strict_schemas_take_every_object_and_no_unknown_field(
    manifests: list[judges.Manifest],
) -> None:
    worse = changed(
        manifests, "local", "Service berth-local/smollm2", lambda body: body["spec"].update(tpye="NodePort")
    )
    verdict = judges.judge_by_schemas(worse, judges.Exceptions())
    assert verdict.judged > 200
    assert [(one.check, one.object) for one in verdict.findings] == [
        (version, "Service berth-local/smollm2") for version in ("1.34", "1.35", "1.36")
    ]
    assert "tpye" in verdict.findings[0].message


def test_kinds_without_a_schema_are_said_not_to_be_judged(manifests: list[judges.Manifest]) -> None:
    pool = judges.Manifest(
        "x", {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "a"}, "spec": {}}
    )
    verdict = judges.judge_by_schemas([*of(manifests, "local"), pool], judges.Exceptions())
    assert verdict.ok
    assert verdict.notes == (
        "NodePool is not judged: its schema is Karpenter's CRD: tests/cluster has it in a real API server",
    )


def test_checkov_bites_and_an_exception_that_matches_nothing_fails(
    manifests: list[judges.Manifest], exceptions: judges.Exceptions, root: Path
) -> None:
    ours = [
        one
        for one in of(manifests, "local")
        if one.object != "Deployment berth-metrics/berth-metrics-adapter"
    ]
    worse = changed(
        ours,
        "local",
        "Deployment berth-local/smollm2",
        lambda body: gateway(body)["securityContext"].update(privileged=True),
    )
    verdict = judges.judge_by_checkov(worse, exceptions, root / "locks" / "tools" / "checkov.txt")
    assert [(one.check, one.object) for one in verdict.findings] == [
        ("CKV_K8S_16", "Deployment berth-local/smollm2")
    ]
    # The adapter is left out here, so what is excepted for it matches nothing.
    assert {one.object for one in verdict.stale} == {"Deployment berth-metrics/berth-metrics-adapter"}
    assert not verdict.ok


def test_a_wider_policy_is_found_connection_by_connection(
    manifests: list[judges.Manifest], program: Path, root: Path
) -> None:
    folder = root / "policy" / "judges" / "connections"
    assert judges.judge_connections(manifests, folder, program).ok

    def without_exception(body: Json) -> None:
        for rule in body["spec"]["egress"]:
            for peer in rule["to"]:
                peer.get("ipBlock", {}).pop("except", None)

    worse = changed(manifests, "aws-dev", "NetworkPolicy berth-aws-dev/chat", without_exception)
    verdict = judges.judge_connections(worse, folder, program)
    messages = {one.message.partition(" is ")[0] for one in verdict.findings}
    assert "berth-aws-dev/chat → metadata:443" in messages
    assert "berth-aws-dev/chat → private-10:443" in messages
    assert all(one.check == "allowed" and one.stack == "aws-dev" for one in verdict.findings)


def test_without_default_deny_a_stranger_in_the_namespace_is_found(
    manifests: list[judges.Manifest], program: Path, root: Path
) -> None:
    left = [one for one in manifests if one.object != "NetworkPolicy berth-local/default-deny"]
    verdict = judges.judge_connections(left, root / "policy" / "judges" / "connections", program)
    assert "berth-local/stranger → metadata:80 is allowed, but local.yaml does not list it" in {
        one.message for one in verdict.findings
    }


def test_a_policy_that_refuses_what_is_wanted_is_found(
    manifests: list[judges.Manifest], program: Path, root: Path
) -> None:
    worse = changed(
        manifests,
        "local",
        "NetworkPolicy berth-local/smollm2",
        lambda body: body["spec"]["ingress"].pop(0),
    )
    verdict = judges.judge_connections(worse, root / "policy" / "judges" / "connections", program)
    assert verdict.findings
    assert {one.check for one in verdict.findings} == {"refused"}


def test_a_stack_whose_connections_nobody_read_is_found_and_told_how(
    manifests: list[judges.Manifest], program: Path, tmp_path: Path
) -> None:
    verdict = judges.judge_connections(of(manifests, "local"), tmp_path, program)
    assert [one.check for one in verdict.findings] == ["unread"]
    assert "./berth judge local --connections" in verdict.findings[0].message


def test_what_is_printed_for_reading_is_what_is_read(
    manifests: list[judges.Manifest], program: Path, root: Path, tmp_path: Path
) -> None:
    expected = judges.read_expected(root / "policy" / "judges" / "connections" / "gcp-prod.yaml")
    allowed = judges.allowed_connections(of(manifests, "gcp-prod"), expected, program)
    file = tmp_path / "gcp-prod.yaml"
    file.write_text(judges.write_expected(allowed, expected).replace("why: ''", "why: read"))
    assert judges.read_expected(file).connections == expected.connections == allowed.connections


def test_ports_by_name_and_range_and_types_left_out_mean_what_they_mean_in_a_cluster(program: Path) -> None:
    def labelled(kind: str, name: str, spec: Json, api: str = "v1") -> judges.Manifest:
        metadata = {"name": name, "namespace": "a"}
        return judges.Manifest("s", {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec})

    def pod(app: str, **ports: int) -> judges.Manifest:
        listed = [{"name": name, "containerPort": number} for name, number in ports.items()]
        template = {
            "metadata": {"labels": {"app": app}},
            "spec": {"containers": [{"name": "c", "ports": listed}]},
        }
        return labelled("Deployment", app, {"template": template})

    of_cli = {"key": "app", "operator": "In", "values": ["cli"]}
    policy = labelled(
        "NetworkPolicy",
        "web",
        {
            "podSelector": {"matchLabels": {"app": "web"}},
            "ingress": [
                {
                    "from": [{"podSelector": {"matchExpressions": [of_cli]}}],
                    "ports": [{"port": "http"}, {"port": 7000, "endPort": 7002}],
                }
            ],
        },
    )
    expected = judges.Expected("10.244.0.0/16", dict(judges.OUTSIDE), frozenset())
    given = [pod("web", http=8081), pod("cli", http=9999), policy]
    allowed = judges.allowed_connections(given, expected, program).connections
    into = {(one.source, one.port) for one in allowed if one.destination == "a/web"}
    assert into == {("a/cli", "8081"), ("a/cli", "7000"), ("a/cli", "7002")}
    # No rule for the way out, so the policy is about the way in alone.
    assert judges.Connection("a/web", "metadata", "80") in allowed


def test_a_pod_on_its_nodes_network_is_no_matter_of_policies(program: Path) -> None:
    spec = {"hostNetwork": True, "containers": [{"name": "c"}]}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "a"}, "spec": spec}
    expected = judges.Expected("10.244.0.0/16", {}, frozenset())
    with pytest.raises(judges.JudgeError, match="node's network"):
        judges.allowed_connections([judges.Manifest("s", body)], expected, program)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pods: 10.0.0.0/8", "the keys are"),
        ("pods: ten\nconnections: []", "pods: 'ten'"),
        ("pods: 10.0.0.0/8\nconnections: [{from: [a]}]", "connection 1: "),
        (
            "pods: 10.0.0.0/8\ngroups: {a: [a]}\nconnections: [{from: [a], to: [c], ports: [1], why: x}]",
            "itself",
        ),
        ("pods: 10.0.0.0/8\noutside: {x: nowhere}\nconnections: []", "'nowhere' is no address"),
        ("a: [", "no YAML"),
    ],
)
def test_wrong_connections_are_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "stack.yaml"
    file.write_text(text)
    with pytest.raises(judges.JudgeError, match=said):
        judges.read_expected(file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1", "a list"),
        ("- {judge: me, check: x, reason: y, objects: {a: [b]}}", "'me' is none of pod-security"),
        ("- {judge: checkov, check: x, reason: '', objects: {a: [b]}}", "reason is to be a text"),
        ("- {judge: checkov, check: x, reason: y, objects: {a: []}}", "objects is to be a map"),
        ("- {judge: checkov, check: x, reason: y, objects: {a: [b, b]}}", "excepted from x twice"),
        ("- {judge: checkov, check: x, reason: y, objects: {a: [b]}, open: perhaps}", "true or false"),
        ("- {judge: checkov, check: x, reason: y, object: b}", "is wanted"),
        ("- [", "no YAML"),
    ],
)
def test_wrong_exceptions_are_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "exceptions.yaml"
    file.write_text(text)
    with pytest.raises(judges.JudgeError, match=said):
        judges.read_exceptions(file)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nonesuch",), "there is no stack 'nonesuch'; there are: "),
        (("--connections",), "--connections goes with one STACK"),
        (("local", "--connections", "--json"), "without --json"),
        (("local", "--connections", "--matrix"), "without --json and --matrix"),
    ],
)
def test_wrong_words_are_named(root: Path, words: tuple[str, ...], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "berth.cli", "judge", *words],
        cwd=root, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert said in done.stderr

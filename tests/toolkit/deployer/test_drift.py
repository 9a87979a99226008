"""What others did to a stack's objects is found, by field and writer; what controllers do is not drift."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from berth.deployer import (
    ConfigError,
    Drift,
    DriftReport,
    Interpreter,
    Remedy,
    RunRequest,
    What,
    drift,
    load_expected,
    render_drift,
)
from berth.deployer.managed import entries, topmost

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from berth.localcluster import Cluster
    from conftest import Stack

CANARY = "canary-7c1f0d55e2"
PROGRAM = """
import json
settings = configmap("settings", {"log": "info", "n": "1"})
configmap("left", {"kept": "as it is"}, ignore_changes=["data.kept"])
k8s.core.v1.Secret("keys", metadata={"name": "keys", "namespace": name},
    string_data={"team-a": config.require_secret("key"), "team-b": config.require_secret("key")}, opts=on)
labels = {"app": "web"}
k8s.apps.v1.Deployment("web", opts=on,
    metadata={"name": "web", "namespace": name, "annotations": {"pulumi.com/skipAwait": "true"}},
    spec={
        "selector": {"match_labels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [
                {"name": "main", "image": "berth.local/nothing:1", "image_pull_policy": "Never",
                 "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
            ]},
        },
    })
k8s.apps.v1.Deployment("worker", opts=on,
    metadata={"name": "worker", "namespace": name, "annotations": {"pulumi.com/skipAwait": "true"}},
    spec={
        "selector": {"match_labels": {"app": "worker"}},
        "template": {
            "metadata": {"labels": {"app": "worker"}},
            "spec": {"containers": [{"name": "main", "image": "berth.local/nothing:1"}]},
        },
    })
k8s.autoscaling.v2.HorizontalPodAutoscaler("web", metadata={"name": "web", "namespace": name}, opts=on,
    spec={
        "scale_target_ref": {"api_version": "apps/v1", "kind": "Deployment", "name": "web"},
        "min_replicas": 2, "max_replicas": 4,
        "metrics": [{"type": "Resource", "resource": {
            "name": "cpu", "target": {"type": "Utilization", "average_utilization": 80}}}],
    })
k8s.core.v1.Service("web", opts=on,
    metadata={"name": "web", "namespace": name, "annotations": {"pulumi.com/skipAwait": "true"}},
    spec={"selector": labels, "ports": [{"name": "http", "port": 80}]})
k8s.rbac.v1.Role("reader", metadata={"name": "reader", "namespace": name}, opts=on,
    rules=[{"api_groups": [""], "resources": ["pods"], "verbs": ["get"]}])
"""


async def look(stack: Stack, **options: Any) -> DriftReport:
    return await drift(stack.request(**options), interpreter=stack.interpreter)


def found(report: DriftReport) -> set[tuple[str, str, str, str, str]]:
    """Give what, object without namespace, path, last writer and remedy of each difference."""
    assert report.complete, report.to_json()
    return {
        (
            one.what.value,
            one.object.replace(f"{report.stack}/", ""),
            one.path,
            one.writers[-1].manager if one.writers else "",
            one.remedy.value,
        )
        for one in report.drift
    }


def kubectl(stack: Stack, *words: str, stdin: str | None = None) -> str:
    return stack.cluster.kubectl("-n", stack.name, *words, stdin=stdin)


def edit(stack: Stack, what: str, expression: str) -> None:
    """Run `kubectl edit` with an editor that is a sed expression."""
    command = stack.cluster.kubectl_command("-n", stack.name, "edit", what)
    environment = {**os.environ, "KUBE_EDITOR": f"sed -i {expression}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert "edited" in done.stdout, done.stderr


@pytest.fixture
async def deployed(stack: Stack) -> Stack:
    """Deploy the program."""
    stack.extra["demo:key"] = CANARY
    stack.secret = frozenset({"demo:key"})
    report = await stack.up(PROGRAM)
    assert report.ok, report.diagnostics
    return stack


@pytest.mark.cluster
async def test_right_after_up_nothing_drifted_and_an_autoscaler_may_scale(deployed: Stack) -> None:
    assert (await look(deployed)).ok
    # What an autoscaler does: nobody is recorded as the writer where nobody owned the field.
    kubectl(deployed, "scale", "deployment/web", "--replicas=2")
    report = await look(deployed)
    assert report.ok, report.to_json()
    assert report.checked == 8
    scaled = [one for one in report.expected if one.path == "spec.replicas"]
    assert [(one.has, one.reason) for one in scaled] == [(2, "HorizontalPodAutoscaler web owns the replicas")]
    text = render_drift(report)
    assert "no drift; 8 compared" in " ".join(text.split())


@pytest.mark.cluster
async def test_everything_that_people_do_is_found_with_who_did_it(deployed: Stack) -> None:
    stack = deployed
    kubectl(stack, "patch", "configmap", "left", "-p", '{"data":{"kept":"theirs"}}')
    edit(stack, "configmap/settings", "s/log:.info/log:\\ debug/")
    kubectl(stack, "label", "role", "reader", "team=ops")
    kubectl(stack, "patch", "service", "web", "--type=json", "-p",
            '[{"op":"replace","path":"/spec/ports/0/port","value":81}]')  # fmt: skip
    kubectl(stack, "set", "env", "deployment/web", "EXTRA=1", "B-")
    kubectl(stack, "scale", "deployment/web", "--replicas=3")  # which the autoscaler takes from here
    kubectl(stack, "scale", "deployment/worker", "--replicas=0")
    kubectl(stack, "patch", "secret", "keys", "-p",
            json.dumps({"stringData": {"team-a": f"{CANARY}-2", "intruder": f"{CANARY}-3"}}))  # fmt: skip
    kubectl(stack, "patch", "hpa", "web", "--field-manager=helm", "-p", '{"spec":{"maxReplicas":9}}')
    report = await look(stack)
    assert found(report) == {
        ("changed", "ConfigMap settings", "data.log", "kubectl-edit", "take-back"),
        ("added", "Role reader", "metadata.labels.team", "kubectl-label", "by-hand"),
        ("changed", "Service web", "spec.ports[0].port", "kubectl-patch", "by-hand"),
        ("added", "Deployment web", "spec.template.spec.containers[0].env[1]", "kubectl-set", "by-hand"),
        ("removed", "Deployment web", "spec.template.spec.containers[0].env[2]", "", "up"),
        ("added", "Deployment worker", "spec.replicas", "", "by-hand"),
        ("changed", "Secret keys", "data.team-a", "kubectl-patch", "take-back"),
        ("added", "Secret keys", "data.intruder", "kubectl-patch", "by-hand"),
        ("changed", "HorizontalPodAutoscaler web", "spec.maxReplicas", "helm", "take-back"),
    }
    assert ("ConfigMap", "data.kept") in {
        (one.object.partition(" ")[0], one.path) for one in report.expected
    }, "ignore_changes"
    shown = json.dumps(report.to_json()) + render_drift(report)
    assert CANARY not in shown
    assert "[secret]" in shown
    assert "kubectl-edit" in shown
    assert all(len(line) <= 80 for line in render_drift(report).splitlines())
    assert all(one.writers[0].time for one in report.drift if one.writers)

    refused = await stack.up()
    assert not refused.ok  # fields of others are reported, not taken
    kubectl(stack, "patch", "service", "web", "--type=json", "-p",
            '[{"op":"replace","path":"/spec/ports/0/port","value":80}]')  # fmt: skip
    taken = await stack.up(take_back=True)
    assert taken.ok, taken.diagnostics
    left = {one[:3] for one in found(await look(stack))}
    assert left == {
        ("added", "Role reader", "metadata.labels.team"),
        ("added", "Deployment web", "spec.template.spec.containers[0].env[1]"),
        ("added", "Deployment worker", "spec.replicas"),
        ("added", "Secret keys", "data.intruder"),
    }


@pytest.mark.cluster
async def test_missing_extra_unmarked_and_not_yet_deployed_objects(deployed: Stack) -> None:
    stack = deployed
    kubectl(stack, "delete", "service", "web")
    copied = json.loads(kubectl(stack, "get", "configmap", "settings", "-o", "json"))
    copied["metadata"] = {
        **{key: copied["metadata"][key] for key in ("labels", "annotations", "namespace")},
        "name": "copied",
    }
    kubectl(stack, "create", "-f", "-", stdin=json.dumps(copied))
    kubectl(
        stack, "create", "configmap", "foreign", "--from-literal=a=b"
    )  # without the mark: not the stack's
    kubectl(stack, "label", "role", "reader", "applyset.kubernetes.io/part-of-")
    stack.write(PROGRAM.replace('"n": "1"', '"n": "2"'))
    assert found(await look(stack)) == {
        ("missing", "Service web", "", "", "up"),
        ("extra", "ConfigMap copied", "", "kubectl-create", "up"),
        ("unmarked", "Role reader", "", "", "by-hand"),
        ("pending", "ConfigMap settings", "data.n", "berth", "up"),
    }
    text = render_drift(await look(stack))
    assert "deletes marked objects that the program does not declare" in " ".join(text.split())


@pytest.mark.cluster
async def test_no_answer_is_never_no_drift(
    deployed: Stack, cluster: Cluster, tmp_path: Path, interpreter: Interpreter
) -> None:
    elsewhere = tmp_path / "kubeconfig"
    elsewhere.write_text(cluster.kubeconfig.read_text().replace(":6443", ":1"))
    deployed.kubeconfig = elsewhere
    report = await look(deployed)
    assert not report.ok
    assert "cannot reach the cluster" in report.diagnostics[0].message
    deployed.kubeconfig = cluster.kubeconfig

    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "__main__.py").write_text("raise SystemExit(3)")
    request = RunRequest(tmp_path / "broken", "demo", deployed.name)
    broken = await drift(request, interpreter=interpreter)
    assert not broken.ok
    assert "no drift" not in render_drift(broken)

    never = RunRequest(deployed.folder, "demo", "never", deployed.request().config, deployed.secret)
    unknown = await drift(never, interpreter=interpreter)
    assert not unknown.ok
    assert "is not deployed" in unknown.diagnostics[0].message


async def test_what_no_cluster_can_be_asked_about_is_named(
    write: Callable[[str], Path], interpreter: Interpreter
) -> None:
    folder = write(
        """
        import pulumi_aws as aws
        bucket = aws.s3.Bucket("weights")
        there = k8s.Provider("there", kubeconfig=bucket.arn)
        k8s.core.v1.ConfigMap("later", metadata={"name": "later", "namespace": "x"},
                              opts=pulumi.ResourceOptions(provider=there))
        """
    )
    report = await drift(RunRequest(folder, "demo", "cloud"), interpreter=interpreter)
    assert not report.complete
    assert not report.drift
    assert {(one.name, one.cloud) for one in report.unchecked} == {("weights", True), ("later", False)}
    assert "pulumi refresh --preview-only" in render_drift(report)


def test_fields_of_managed_fields_become_paths_of_the_object() -> None:
    fields = {
        "f:metadata": {"f:labels": {".": {}, "f:a/b": {}}, "f:finalizers": {'v:"x/y"': {}}},
        "f:spec": {"f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}, "i:9": {}}},
    }
    live = {
        "metadata": {
            "labels": {"a/b": "1"},
            "finalizers": ["x/y"],
            "managedFields": [
                {"manager": "m", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": fields},
                {"manager": "odd", "fieldsType": "FieldsV7", "fieldsV1": {"f:x": {}}},
            ],
        },
        "spec": {"ports": [{"port": 1}, {"port": 80, "protocol": "TCP"}]},
    }
    (entry,) = entries(live)
    assert entry.paths == {
        ("metadata", "labels"),
        ("metadata", "labels", "a/b"),
        ("metadata", "finalizers", 0),
        ("spec", "ports", 1),
        ("spec", "ports", 1, "port"),
    }
    assert topmost(entry.paths, {("metadata", "labels", "ours")}) == [
        ("metadata", "finalizers", 0),
        ("metadata", "labels", "a/b"),
        ("spec", "ports", 1),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no YAML"),
        ("managers: []", "a list of entries"),
        ("- 3", "entry 1"),
        ("- {managers: [a], kinds: [b], paths: [c]}", "reason is missing"),
        ("- {managers: a, kinds: [b], paths: [c], reason: d}", "managers must be a list"),
        ("- {managers: [a], kinds: [b], paths: [c], reason: d, path: e}", "'path' is none of"),
    ],
)
def test_wrong_lists_of_what_is_expected_are_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "expected.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        load_expected(file)
    assert str(file) in str(caught.value)


def test_shipped_expectations_have_reasons_and_name_no_tool_of_people() -> None:
    shipped = load_expected()
    assert len(shipped) > 8
    for one in shipped:
        assert one.reason
        if one.paths != ("*",) and "status" not in one.paths:
            assert not {"*", "kubectl*", "helm"} & set(one.managers), one


def test_values_in_text_are_cut_and_columns_kept() -> None:
    one = Drift(What.CHANGED, "ConfigMap a/b", "c", path="data." + "x" * 30, asked="y" * 500, has={"a": [1]})
    text = render_drift(DriftReport("p", "s", [one], checked=1, clusters=("c",)))
    assert max(map(len, text.splitlines())) <= 80
    assert Remedy.UP is one.remedy

"""Manifests from inputs, differences, predicted outputs, replacement reasons, names."""

from __future__ import annotations

from typing import Any

import pytest
from berth.deployer import Refused, manifest
from berth.deployer.compare import (
    differences,
    immutable_fields,
    keep_live,
    public,
    wanted_changes,
    with_unknowns,
)
from berth.deployer.errors import ApiError
from berth.deployer.readiness import seconds, waiting_for
from berth.deployer.state import applyset_id, record_name
from berth.deployer.values import UNKNOWN, Secret, Special


def test_manifest_drops_nulls_and_turns_string_data_into_data() -> None:
    made = manifest.from_inputs(
        {
            "kind": "Secret",
            "apiVersion": "v1",
            "metadata": {"annotations": {"a": None, "b": "1"}},
            "__internal": 1,
            "data": Secret({"x": "eA=="}),
            "stringData": {"y": Secret("y"), "z": 3},
        },
        "kubernetes:core/v1:Secret",
    )
    assert made["metadata"] == {"annotations": {"b": "1"}}
    assert made["data"] == Secret({"x": "eA==", "y": "eQ==", "z": "Mw=="})
    assert "stringData" not in made
    assert "__internal" not in made


def test_manifest_knows_its_kind_by_the_type_alone() -> None:
    assert manifest.from_inputs({}, "kubernetes:core/v1:ConfigMap")["apiVersion"] == "v1"
    assert manifest.from_inputs({}, "kubernetes:apps/v1:Deployment")["apiVersion"] == "apps/v1"


def test_what_is_not_done_here_is_refused_by_name() -> None:
    assert "Helm" in manifest.refuse_type("kubernetes:helm.sh/v3:Release", "Release")
    assert "Patch" in manifest.refuse_type("kubernetes:core/v1:ConfigMapPatch", "ConfigMap")
    assert not manifest.refuse_type("kubernetes:x.io/v1:MyPatch", "MyPatch")
    with pytest.raises(Refused, match=r"data\.x is \[asset\]"):
        manifest.from_inputs({"data": {"x": Special("c44067f5952c0a294b673a41bacd8c17")}}, "kubernetes:v1:X")


def live(**more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "a",
            "uid": "1",
            "resourceVersion": "5",
            "managedFields": [{}],
            "annotations": {"berth.dev/urn": "u", "mine": "1"},
            "labels": {"applyset.kubernetes.io/part-of": "x"},
        },
        "data": {"k": "v", "list": [1, 2]},
        "status": {"x": 1},
        **more,
    }


def test_bookkeeping_and_status_are_no_difference() -> None:
    other = live(status={"x": 2})
    other["metadata"] = {**other["metadata"], "resourceVersion": "6", "annotations": {"mine": "1"}}
    assert differences(live(), other) == []
    assert public(live())["metadata"].get("labels") is None
    assert public(live())["metadata"]["annotations"] == {"mine": "1"}


def test_differences_name_paths_and_kinds() -> None:
    changed = live(data={"k": "w", "new": "n", "list": [1, 3]})
    found = [(".".join(map(str, c.path)), c.kind) for c in differences(live(), changed)]
    assert found == [("data.k", "update"), ("data.list.1", "update"), ("data.new", "add")]
    gone = differences(live(), live(data={"k": "v"}))
    assert [(c.path, c.kind) for c in gone] == [(("data", "list"), "delete")]


def test_inputs_alone_show_what_is_wanted_but_not_defaults() -> None:
    wanted = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": UNKNOWN}}
    assert [c.path for c in wanted_changes(live(), wanted)] == [("data", "k")]
    wanted["data"] = {"k": "v"}
    assert wanted_changes(live(), wanted) == []


@pytest.mark.parametrize(
    ("kind", "spec", "unknown"),
    [
        ("Service", {}, ["clusterIP", "clusterIPs"]),
        ("Service", {"clusterIP": "None"}, ["clusterIPs"]),
        ("PersistentVolumeClaim", {}, ["volumeName"]),
        ("Pod", {}, ["nodeName"]),
    ],
)
def test_computed_leaves_are_unknown_where_the_program_does_not_say(
    kind: str, spec: dict[str, Any], unknown: list[str]
) -> None:
    wanted = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "a"}, "spec": spec}
    found = with_unknowns({**wanted, "metadata": {"name": "a"}}, wanted, created=True, changed=True)
    assert all(found["spec"][name] is UNKNOWN for name in unknown)
    assert found["metadata"]["uid"] is UNKNOWN
    assert found["metadata"]["name"] == "a"
    assert found["status"] is UNKNOWN
    if "clusterIP" in spec:
        assert found["spec"]["clusterIP"] == "None"


def test_node_ports_are_unknown_unless_given() -> None:
    ports = [{"port": 1, "nodePort": 30001}, {"port": 2, "nodePort": 30002}]
    wanted = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {},
        "spec": {"type": "NodePort", "ports": [{"port": 1, "nodePort": 30001}, {"port": 2}]},
    }
    outputs = {**wanted, "spec": {"type": "NodePort", "ports": ports}}
    found = with_unknowns(outputs, wanted, created=True, changed=True)["spec"]["ports"]
    assert [port["nodePort"] for port in found] == [30001, UNKNOWN]


def invalid(*messages: str) -> ApiError:
    causes = [{"field": f"spec.f{i}", "message": message} for i, message in enumerate(messages)]
    return ApiError(422, {"reason": "Invalid", "details": {"causes": causes}}, "x")


@pytest.mark.parametrize(
    "message",
    [
        "Invalid value: {}: field is immutable",
        "may not change once set",
        "Forbidden: spec is immutable after creation except resources.requests",
        "Invalid value: {}: cannot change roleRef",
        "Forbidden: updates to statefulset spec for fields other than 'replicas' are forbidden",
        "Forbidden: pod updates may not change fields other than `spec.containers[*].image`",
        "Forbidden: updates to parameters are forbidden.",
    ],
)
def test_only_what_cannot_change_is_replaced(message: str) -> None:
    assert immutable_fields(invalid(message)) == ["spec.f0"]
    assert immutable_fields(invalid(message, "must be greater than 0")) == []
    assert immutable_fields(invalid("Invalid value: must be a DNS label")) == []
    assert immutable_fields(ApiError(400, {"details": {"causes": [{"message": message}]}}, "x")) == []


def test_ignored_paths_keep_the_live_value() -> None:
    wanted = {"spec": {"replicas": 1, "containers": [{"image": "a"}, {"image": "b"}]}, "data": {"x": "1"}}
    there = {"spec": {"replicas": 4, "containers": [{"image": "z"}]}}
    assert keep_live(wanted, there, ("spec", "replicas"))["spec"]["replicas"] == 4
    found = keep_live(wanted, there, ("spec", "containers", "*", "image"))["spec"]["containers"]
    assert found == [{"image": "z"}, {}]
    assert "x" not in keep_live(wanted, there, ("data", "x"))["data"]


def test_names_are_stable_and_different() -> None:
    urn = "urn:pulumi:s::p::t::Name With Spaces"
    assert manifest.generated_name("Name With Spaces", urn) == manifest.generated_name(
        "Name With Spaces", urn
    )
    assert manifest.generated_name("a", "urn1") != manifest.generated_name("a", "urn2")
    assert record_name("demo", "dev") == "demo.dev"
    names = {record_name(*pair) for pair in [("a.b", "c"), ("a", "b.c"), ("A", "b"), ("a", "b"), ("a_", "b")]}
    assert len(names) == 5


def test_applyset_id_is_the_one_of_kep_3659() -> None:
    # sha256("name.namespace.Secret.") in URL-safe base64, as `kubectl apply --prune --applyset` computes it
    assert applyset_id("name", "namespace").startswith("applyset-")
    assert applyset_id("name", "namespace").endswith("-v1")
    assert len(applyset_id("name", "namespace")) == len("applyset-") + 43 + len("-v1")


@pytest.mark.parametrize(("text", "value"), [("90", 90), ("5m", 300), ("1h30m", 5400), ("1.5s", 1.5)])
def test_durations_are_go_s(text: str, value: float) -> None:
    assert seconds(text) == value


def test_wait_annotations_are_understood_or_refused() -> None:
    def notes(**annotations: str) -> dict[str, Any]:
        return {"metadata": {"annotations": {f"pulumi.com/{k}": v for k, v in annotations.items()}}}

    assert waiting_for(notes(skipAwait="true"), "").skip
    assert waiting_for(notes(timeoutSeconds="7"), "").limit == 7
    assert waiting_for(notes(timeoutSeconds="7"), "2m").limit == 120
    assert waiting_for(notes(waitFor="condition=Ready"), "").conditions[0][1] == "True"
    assert waiting_for(notes(waitFor="jsonpath={.status.phase}=Running"), "").conditions == (
        (("status", "phase"), "Running"),
    )
    for wrong in ("jsonpath={..x}", "nonsense"):
        with pytest.raises(Refused, match="waitFor"):
            waiting_for(notes(waitFor=wrong), "")
    with pytest.raises(Refused, match="duration"):
        waiting_for(notes(timeoutSeconds="soon"), "")

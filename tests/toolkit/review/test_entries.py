"""Resources of two plans, matched: aliases, renames, replacements, protection, what is ignored."""

from __future__ import annotations

from typing import Any

import pytest
from berth.review.entries import compared
from berth.review.model import Entry, Resource
from berth.review.replacing import is_at, lost_with, replacing_properties

STACK = "urn:pulumi:dev::demo::pulumi:pulumi:Stack::demo-dev"
DEPLOYMENT = "kubernetes:apps/v1:Deployment"


def made(type_: str, name: str, inputs: Any = None, parent: str = STACK, **more: Any) -> Resource:
    chain = "" if parent == STACK else parent.split("::")[2] + "$"
    urn = f"urn:pulumi:dev::demo::{chain}{type_}::{name}"
    return Resource(urn, type_, name, parent, inputs=inputs or {}, **more)


def one(before: Resource, after: Resource) -> Entry:
    (entry,) = compared([before], [after])
    return entry


def k8s(kind: str, spec: Any = None, **more: Any) -> dict[str, Any]:
    inputs = {"kind": kind, "metadata": {"name": "x", "namespace": "n"}, **more}
    return {**inputs, "spec": spec} if spec is not None else inputs


def test_same_inputs_are_no_change() -> None:
    resource = made(DEPLOYMENT, "a", k8s("Deployment", {"replicas": 1}))
    assert one(resource, resource).op == "same"


@pytest.mark.parametrize(
    ("kind", "before", "after", "path"),
    [
        ("Deployment", {"selector": {"matchLabels": {"a": "1"}}}, {"selector": {"matchLabels": {"a": "2"}}},
         "spec.selector.matchLabels.a"),
        ("Service", {"clusterIP": "10.0.0.1"}, {"clusterIP": "10.0.0.2"}, "spec.clusterIP"),
        ("StatefulSet", {"serviceName": "a", "replicas": 1}, {"serviceName": "b", "replicas": 2},
         "spec.serviceName"),
        ("PersistentVolumeClaim", {"storageClassName": "a"}, {"storageClassName": "b"},
         "spec.storageClassName"),
        ("Job", {"template": {"spec": {"containers": [{"name": "a", "image": "1"}]}}},
         {"template": {"spec": {"containers": [{"name": "a", "image": "2"}]}}},
         "spec.template.spec.containers[name=a].image"),
    ],
)  # fmt: skip
def test_what_kubernetes_cannot_change_is_a_replacement(
    kind: str, before: Any, after: Any, path: str
) -> None:
    type_ = f"kubernetes:v1:{kind}"
    entry = one(made(type_, "a", k8s(kind, before)), made(type_, "a", k8s(kind, after)))
    assert (entry.op, [reason.path for reason in entry.reasons]) == ("replace", [path])


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("Deployment", {"replicas": 1}, {"replicas": 2}),
        ("StatefulSet", {"replicas": 1, "template": {"a": 1}}, {"replicas": 2, "template": {"a": 2}}),
        ("PersistentVolumeClaim", {"resources": {"requests": {"storage": "1Gi"}}},
         {"resources": {"requests": {"storage": "2Gi"}}}),
        ("Pod", {"containers": [{"name": "a", "image": "1"}]}, {"containers": [{"name": "a", "image": "2"}]}),
    ],
)  # fmt: skip
def test_what_kubernetes_changes_in_place_is_an_update(kind: str, before: Any, after: Any) -> None:
    type_ = f"kubernetes:v1:{kind}"
    entry = one(made(type_, "a", k8s(kind, before)), made(type_, "a", k8s(kind, after)))
    assert (entry.op, entry.reasons) == ("update", ())


def test_another_name_is_another_object() -> None:
    before, after = (k8s("ConfigMap") | {"metadata": {"name": name}} for name in "ab")
    entry = one(made("kubernetes:v1:ConfigMap", "a", before), made("kubernetes:v1:ConfigMap", "a", after))
    assert entry.op == "replace"
    assert entry.reasons[0].path == "metadata.name"


def test_an_immutable_config_map_is_replaced_by_a_change_of_its_data() -> None:
    type_ = "kubernetes:v1:ConfigMap"
    sealed = [made(type_, "a", k8s("ConfigMap", data={"k": v}, immutable=True)) for v in "12"]
    free = [made(type_, "a", k8s("ConfigMap", data={"k": v})) for v in "12"]
    assert (one(*sealed).op, one(*free).op) == ("replace", "update")


def test_of_a_cloud_only_what_its_sdk_documents_is_sure() -> None:
    assert "bootstrapSelfManagedAddons" in replacing_properties("aws:eks/cluster:Cluster")
    assert replacing_properties("gcp:container/nodePool:NodePool") >= {"initialNodeCount"}
    assert replacing_properties("nothing:here/at:All") == replacing_properties("odd") == frozenset()
    cluster = "aws:eks/cluster:Cluster"
    sure = one(made(cluster, "a"), made(cluster, "a", {"bootstrapSelfManagedAddons": False}))
    assert (sure.op, sure.reasons[0].certain) == ("replace", True)
    unsure = one(made(cluster, "a", {"version": "1.34"}), made(cluster, "a", {"version": "1.35"}))
    assert (unsure.op, unsure.reasons[0].certain) == ("update", False)
    assert "provider decides" in unsure.reasons[0].text
    tags = one(made(cluster, "a", {"tags": {"a": "1"}}), made(cluster, "a", {"tags": {"a": "2"}}))
    assert (tags.op, tags.reasons) == ("update", ())


def test_the_program_may_ask_for_a_replacement_or_ignore_a_change() -> None:
    before = made(DEPLOYMENT, "a", {"spec": {"replicas": 1, "x": 1}})
    asked = made(DEPLOYMENT, "a", {"spec": {"replicas": 2, "x": 1}}, replace_on=("spec.replicas",))
    assert one(before, asked).op == "replace"
    ignored = made(DEPLOYMENT, "a", {"spec": {"replicas": 2, "x": 1}}, ignore=("spec.replicas",))
    assert one(before, ignored).op == "same"
    partly = made(DEPLOYMENT, "a", {"spec": {"replicas": 2, "x": 2}}, ignore=("spec.replicas",))
    assert [change.path for change in one(before, partly).changes] == ["spec.x"]
    assert is_at("spec.ports[name=a].port", "spec.ports[*].port")
    assert not is_at("spec.replicasMore", "spec.replicas")


def test_an_alias_keeps_a_renamed_resource() -> None:
    before = made(DEPLOYMENT, "old", {"spec": {"replicas": 1}})
    after = made(DEPLOYMENT, "new", {"spec": {"replicas": 2}}, aliases=(before.urn,))
    entry = one(before, after)
    assert (entry.op, entry.name) == ("update", "new")
    assert "kept by an alias" in entry.notes[0]


def test_a_renamed_component_is_deletes_and_creates_that_an_alias_would_avoid() -> None:
    def component(name: str) -> list[Resource]:
        top = made("my:Component", name, custom=False)
        inner = made("kubernetes:v1:Service", f"{name}-svc", {"a": 1}, top.urn, object="Service n/x")
        return [top, inner, made(DEPLOYMENT, f"{name}-deploy", {"a": 1}, top.urn)]

    entries = {entry.name: entry for entry in compared(component("old"), component("new"))}
    assert {name: entry.op for name, entry in entries.items() if entry.custom} == {
        "new-svc": "create",
        "new-deploy": "create",
        "old-svc": "delete",
        "old-deploy": "delete",
    }
    assert 'aliases=[pulumi.Alias(name="old")]' in entries["old"].notes[0]
    assert entries["old-svc"].twin == entries["new-svc"].urn
    assert any("may delete what it has just made" in note for note in entries["old-svc"].notes)
    assert not any("just made" in note for note in entries["old-deploy"].notes)


def test_unlike_things_are_not_taken_for_one() -> None:
    gone, come = made(DEPLOYMENT, "a", {"spec": 1}), made(DEPLOYMENT, "b", {"spec": 2})
    entries = compared([gone], [come])
    assert [entry.op for entry in entries] == ["create", "delete"]
    assert all(not entry.twin for entry in entries)
    assert entries[1].notes == ("no longer declared",)


def test_what_is_lost_and_what_is_protected_is_said() -> None:
    claim = made("kubernetes:core/v1:PersistentVolumeClaim", "a", protect=True)
    (entry,) = compared([claim], [])
    assert any("data in the volume" in note for note in entry.notes)
    assert any("protected" in note for note in entry.notes)
    (kept,) = compared([made("kubernetes:core/v1:Secret", "a", retain=True)], [])
    assert kept.op == "retain"
    assert lost_with("aws:s3/bucket:Bucket", "delete")
    assert not lost_with("aws:s3/bucketPolicy:BucketPolicy", "delete")
    assert not lost_with("aws:s3/bucket:Bucket", "update")


def test_a_provider_that_changes_is_shown() -> None:
    before, after = (
        made("pulumi:providers:aws", "here", {"region": region}, custom=False) for region in ("a", "b")
    )
    entry = one(before, after)
    assert (entry.op, entry.is_change, entry.changes[0].path) == ("update", True, "region")
    assert one(before, before).op == "same"
    assert one(made("pulumi:providers:aws", "here", custom=False), after).op == "same"

"""A stack as a Helm chart: a real Helm makes of it what the plan says, for every stack of its shape."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml
from berth.rendering import Chart, Collected, RenderError, Secrets, collect, helm, plain, write
from berth.rendering.chart import _sum
from berth.rendering.shape import MISSING, overrides

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from berth.deployer import Report

Objects = dict[tuple[str, str, str], dict[str, Any]]
CANARY = "canary-51d0f2a9c3"
STAND_INS = ("closed", "unpinned")
TRICKY = {
    "prompt": 'You are {{ .Role }}.\n{{- range .Tools }}\n - {{ .Name }}\n{{- end }}\n{{{x}}} "{{`raw`}}"\n',
    "number": "1e3",
    "amp": "a < b && c > d \u2028 模型",
    "empty": "",
}
# One shape, from a few settings.
PROGRAM = """
import json
wide = config.get_bool("wide")
name = f"app-{pulumi.get_stack()}"
space = k8s.core.v1.Namespace("space", metadata={"name": name, "labels": {"text": "a"}})
at = {"namespace": name}
k8s.core.v1.ConfigMap("settings", metadata={"name": "settings", **at}, data=config.require_object("data"))
k8s.core.v1.ConfigMap("fixed", metadata={"name": "fixed", **at,
    "labels": {"tier": "wide" if wide else "slim"}, "annotations": {"note": "{{ .Values.nothing }} {{{ }}"}},
    binary_data={"b": "AAEC"})
k8s.core.v1.Secret("keys", metadata={"name": "keys", **at}, string_data={"t": config.require_secret("key")})
k8s.rbac.v1.RoleBinding("binding", metadata={"name": "binding", **at},
    role_ref={"api_group": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
    subjects=[{"kind": "ServiceAccount", "name": "default", **at}])
extra = {"node_selector": {"pool": "gpu", "zone.example.org/a": "1"},
         "tolerations": [{"key": "gpu", "operator": "Exists"}]} if wide else {"node_selector": {"cpu": "big"}}
k8s.apps.v1.Deployment("web", metadata={"name": "web", **at}, spec={
    "replicas": config.get_int("replicas") or 0, "selector": {"match_labels": {"app": "web"}},
    "min_ready_seconds": 5 if wide else None,
    "template": {
        "metadata": {"labels": {"app": "web"}},
        "spec": {**extra, "containers": [
            {"name": "main-part", "image": config.require("image"), "command": ["sh", "-c", "echo {{hello}}"],
             "args": ["--wide"] if wide else None, "env": [{"name": "N", "value": "1"}],
             "env_from": [{"config_map_ref": {"name": "settings"}}]},
            {"name": "2nd", "image": "example.org/second:1", "ports": [{"container_port": 80}]}]}}})
k8s.networking.v1.NetworkPolicy("net", metadata={"name": "net", **at}, spec={
    "pod_selector": {},
    "ingress": [{"from_": [{"ip_block": {"cidr": cidr}} for cidr in config.require("cidrs").split()]}]})
"""
SLIM = {"data": json.dumps(TRICKY), "image": "example.org/web:1", "cidrs": "10.0.0.0/8"}
WIDE = {
    "data": json.dumps({"prompt": "short", "added": "{{ x }}"}),
    "image": "example.org/web@sha256:" + "a" * 64,
    "cidrs": "10.0.0.0/8 192.168.0.0/16",
    "replicas": "3",
    "wide": "true",
}


@pytest.fixture
def stacks(plan: Callable[..., Report]) -> tuple[Collected, Collected]:
    return (
        collect(plan(PROGRAM, "slim", {"key": CANARY}, **SLIM)),
        collect(plan(PROGRAM, "wide", {"key": CANARY}, **WIDE)),
    )


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    return tmp_path / "chart"


def without_empty_annotations(objects: Objects) -> Objects:
    """Drop the pods' annotations where there are none: the API server does so, too."""
    for one in objects.values():
        metadata = ((one.get("spec") or {}).get("template") or {}).get("metadata") or {}
        if metadata.get("annotations") == {}:
            del metadata["annotations"]
    return objects


def test_one_chart_gives_each_stack_its_very_objects(
    stacks: tuple[Collected, Collected],
    helm: Callable[..., str],
    by_key: Callable[[str], Objects],
    wanted: Callable[[Collected], Objects],
    chart: Path,
) -> None:
    slim, wide = stacks
    files = rendered(slim, wide)
    write(chart, files)
    assert CANARY not in "".join(files.values())
    assert "0 chart(s) failed" in helm("lint", "--strict", chart)
    assert "0 chart(s) failed" in helm("lint", "--strict", chart, "-f", chart / "values-wide.yaml")
    own = without_empty_annotations(by_key(helm("template", "x", chart)))
    assert own == wanted(slim)
    theirs = without_empty_annotations(by_key(helm("template", "x", chart, "-f", chart / "values-wide.yaml")))
    assert theirs == wanted(wide)
    changed = yaml.safe_load(files["values-wide.yaml"])
    assert changed["namespaces"] == {"space": {"name": "app-wide"}}
    assert changed["web"]["deployment"]["nodeSelector"] == {
        "cpu": None,
        "pool": "gpu",
        "zone.example.org/a": "1",
    }
    assert changed["web"]["deployment"]["more"] == {"spec": {"minReadySeconds": 5}}
    assert "n2nd" not in changed["web"]["deployment"]["containers"], "what does not differ is not repeated"


def rendered(first: Collected, *others: Collected) -> dict[str, str]:
    secrets = Secrets(stand_ins=STAND_INS)
    return helm_files(first, secrets, Chart("demo"), [(one, secrets) for one in others])


helm_files = helm


def test_a_value_by_hand_does_what_it_says(
    stacks: tuple[Collected, Collected],
    helm: Callable[..., str],
    by_key: Callable[[str], Objects],
    chart: Path,
) -> None:
    write(chart, rendered(*stacks))

    def template(*words: str) -> Objects:
        return by_key(helm("template", "x", chart, *words))

    moved = template("--set", "namespaces.space.name=elsewhere", "--set", "namespaces.space.create=false")
    assert {key[1] for key in moved} == {"elsewhere"}
    assert moved["RoleBinding", "elsewhere", "binding"]["subjects"][0]["namespace"] == "elsewhere"
    web = ("Deployment", "app-slim", "web")
    before = template()[web]["spec"]["template"]["metadata"]
    after = template("--set-string", "settings.configMap.data.number=2")[web]["spec"]["template"]["metadata"]
    assert "checksum/values" not in (before.get("annotations") or {})
    assert after["annotations"]["checksum/values"], "pods start again with other configuration"
    for wrong, said in {
        "web.deployment.replicas=two": "got string, want integer",
        "web.deployment.replcas=2": "replcas",
        "web.deployment.containers.mainPart.image=": "minLength",
        "settings.configMap.data.number=2": "got number, want string",
    }.items():
        assert said in helm("template", "x", chart, "--set", wrong, fails=True)
    text = template("--set-string", "settings.configMap.data.number=007")
    assert text["ConfigMap", "app-slim", "settings"]["data"]["number"] == "007"


def test_what_only_some_stacks_have_is_switched_on_by_a_value(
    plan: Callable[..., Report],
    helm: Callable[..., str],
    by_key: Callable[[str], Objects],
    wanted: Callable[[Collected], Objects],
    chart: Path,
) -> None:
    more = """
k8s.core.v1.ConfigMap("more", metadata={"name": "more", **at}, data={"b": "{{ more }}"})
class Whole(pulumi.ComponentResource):
    def __init__(self):
        super().__init__("x:y:Whole", "whole")
        below = pulumi.ResourceOptions(parent=self)
        own = k8s.core.v1.Namespace("whole-space", metadata={"name": "whole"}, opts=below)
        for part in ("a", "b"):
            k8s.core.v1.ConfigMap(f"whole-{part}", metadata={"name": part, "namespace": "whole"}, opts=below)
Whole()
"""
    small = collect(plan(PROGRAM, "slim", {"key": CANARY}, **SLIM))
    large = collect(plan(PROGRAM + more, "large", {"key": CANARY}, **SLIM))
    for first, second in ((small, large), (large, small)):
        files = rendered(first, second)
        write(chart, files)
        assert "0 chart(s) failed" in helm("lint", "--strict", chart)
        made = by_key(helm("template", "x", chart))
        assert without_empty_annotations(made) == wanted(first)
        made = by_key(helm("template", "x", chart, "-f", chart / f"values-{second.stack}.yaml"))
        assert without_empty_annotations(made) == wanted(second)
        flags = yaml.safe_load(files["values.yaml"])
        is_large = first is large
        assert flags["whole"]["enabled"] is is_large
        assert flags["more"]["enabled"] is is_large
        assert flags["namespaces"]["whole"]["create"] is is_large
    nothing = collect(plan('k8s.core.v1.Namespace("else", metadata={"name": "else"})', "other"))
    with pytest.raises(RenderError, match="slim and other have no object in common"):
        rendered(small, nothing)


KINDS = """
big = pulumi.get_stack() == "big"
at = {"namespace": "elsewhere"}
def pod(name):
    return {"containers": [{"name": name, "image": f"example.org/{name}:{2 if big else 1}",
                            "resources": {"limits": {"cpu": 2 if big else "500m", "example.org/x": 1}}}]}
k8s.apps.v1.StatefulSet("set", metadata={"name": "set", **at}, spec={
    "service_name": "set", "selector": {"match_labels": {"a": "b"}},
    "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod("one")},
    "volume_claim_templates": [{"metadata": {"name": "v"}, "spec": {
        "access_modes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "2Gi" if big else "1Gi"}}}}]})
k8s.batch.v1.CronJob("nightly", metadata={"name": "nightly", **at}, spec={
    "schedule": "@daily" if big else "*/5 * * * *",
    "job_template": {"spec": {"template": {"spec": {**pod("two"), "restart_policy": "Never"}}}}})
k8s.core.v1.Pod("bare", metadata={"name": "bare", **at}, spec=pod("three"))
k8s.core.v1.PersistentVolumeClaim("claim", metadata={"name": "claim", **at}, spec={
    "access_modes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi" if big else "1Gi"}},
    "storage_class_name": "fast" if big else None})
k8s.networking.v1.Ingress("way", metadata={"name": "way", **at, "annotations": {"a/b": "c"} if big else None},
    spec={"rules": [{"host": f"{pulumi.get_stack()}.example.org"}]})
k8s.autoscaling.v2.HorizontalPodAutoscaler("scale", metadata={"name": "scale", **at}, spec={
    "min_replicas": 0 if big else 1, "max_replicas": 9000000 if big else 2,
    "scale_target_ref": {"api_version": "apps/v1", "kind": "StatefulSet", "name": "set"}})
k8s.rbac.v1.ClusterRole("odd", metadata={"name": "system:odd:{{x}}"},
    rules=[{"api_groups": [""], "resources": ["pods"], "verbs": ["get", "list"] if big else ["get"]}])
"""


def test_every_kind_of_workload_varies(
    plan: Callable[..., Report],
    helm: Callable[..., str],
    by_key: Callable[[str], Objects],
    wanted: Callable[[Collected], Objects],
    chart: Path,
) -> None:
    small, big = (collect(plan(KINDS, name)) for name in ("small", "big"))
    write(chart, rendered(small, big))
    assert "0 chart(s) failed" in helm("lint", "--strict", chart)
    made = by_key(helm("template", "x", chart))
    assert without_empty_annotations(made) == wanted(small)
    made = by_key(helm("template", "x", chart, "-f", chart / "values-big.yaml"))
    assert without_empty_annotations(made) == wanted(big)
    assert made["HorizontalPodAutoscaler", "elsewhere", "scale"]["spec"]["maxReplicas"] == 9000000


def test_wrong_names_of_charts_are_refused() -> None:
    with pytest.raises(RenderError, match="--chart-name My_Chart"):
        Chart("My_Chart")
    with pytest.raises(RenderError, match="semantic version"):
        Chart("a", "1")


def test_every_shipped_stack_is_a_chart(
    shipped: dict[str, Report],
    helm: Callable[..., str],
    by_key: Callable[[str], Objects],
    wanted: Callable[[Collected], Objects],
    tmp_path: Path,
) -> None:
    collected = {name: collect(report) for name, report in shipped.items()}
    for name, one in collected.items():
        pairs = {"onprem": "local", "gcp-dev": "gcp-prod", "aws-prod": "aws-dev"}
        others = [collected[pairs[name]]] if name in pairs else []
        files = rendered(one, *others)
        write(tmp_path / name, files)
        for cluster, items in one.clusters.items():
            # Of several clusters each has a chart of its own.
            start = f"{cluster}/" if len(one.clusters) > 1 else ""
            values = yaml.safe_load(files[f"{start}values.yaml"])
            jsonschema.Draft7Validator(json.loads(files[f"{start}values.schema.json"])).validate(values)
            chart = tmp_path / name / start
            assert helm("lint", "--strict", chart).count("[ERROR]") == 0
            made = by_key(helm("template", "x", chart))
            alone = dataclasses.replace(one, clusters={cluster: items})
            assert without_empty_annotations(made) == wanted(alone), (name, cluster)
            assert not [key for key in made if key[0] == "Secret"]
        for other in others:
            values_file = tmp_path / name / f"values-{other.stack}.yaml"
            made = by_key(helm("template", "x", tmp_path / name, "-f", values_file))
            assert without_empty_annotations(made) == wanted(other), (name, other.stack)
    varied = yaml.safe_load((tmp_path / "onprem" / "values-local.yaml").read_text())
    assert varied["smollm2"]["service"]["type"] == "NodePort"
    assert varied["smollm2Autoscaler"]["hpa"]["maxReplicas"] == 3
    assert varied["smollm2"]["deployment"]["containers"]["engine"]["image"].startswith("berth.local/")
    assert varied["smollm2"]["gatewayConfig"]["data"]["MAX_CONCURRENT_REQUESTS"] == "34"


def test_external_secrets_are_values_where_environments_differ(
    stacks: tuple[Collected, Collected],
    helm: Callable[..., str],
    by_key: Callable[[str], Objects],
    chart: Path,
) -> None:
    slim, wide = (Secrets("external", "vault", prefix=f"demo/{name}") for name in ("slim", "wide"))
    write(chart, helm_files(stacks[0], slim, Chart("demo"), [(stacks[1], wide)]))
    made = by_key(helm("template", "x", chart, "-f", chart / "values-wide.yaml"))
    spec = made["ExternalSecret", "app-wide", "keys"]["spec"]
    assert spec["data"][0]["remoteRef"]["key"] == "demo/wide/keys"
    in_yaml = by_key(plain(stacks[1], wide, waves=False)["30-externalsecret-app-wide-keys.yaml"])
    assert in_yaml["ExternalSecret", "app-wide", "keys"] == made["ExternalSecret", "app-wide", "keys"]


@pytest.mark.parametrize(
    ("base", "wanted_", "merged"),
    [
        ({"a": 1}, {"a": 1}, MISSING),
        ({"a": 1, "b": 2}, {"a": 1}, {"b": None}),
        ({"a": {"x": 1}}, {"a": {"y": 1}}, {"a": {"x": None, "y": 1}}),
        ({"a": [1, 2]}, {"a": [2]}, {"a": [2]}),
        ({"a": {"x": 1}}, {"a": {}}, {"a": {"x": None}}),
        ({"a": 1}, {"a": True}, {"a": True}),
        ({"a": "1"}, {"a": 1}, {"a": 1}),
    ],
)
def test_overrides_are_what_helm_has_to_merge(base: Any, wanted_: Any, merged: Any) -> None:
    assert overrides(base, wanted_) == merged


def test_sums_are_those_of_helm() -> None:
    assert _sum(["a<b", None]) == hashlib.sha256(b'["a\\u003cb",null]').hexdigest()

"""The Kubernetes objects of every shipped stack, judged by a real API server (tests/judges has others)."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from berth import deployer
from berth.deployer import RunRequest, load_config
from berth.judges import manifests_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from berth.localcluster import Cluster

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
CRDS = Path(__file__).parent / "crds"
STACKS = sorted(
    file.name.removeprefix("Pulumi.").removesuffix(".yaml")
    for file in (ROOT / "stacks").glob("Pulumi.*.yaml")
)
# AWS publishes no schema of it: it exists inside of EKS Auto Mode only.
WITHOUT_SCHEMA = {"NodeClass"}


# Other tests of this cluster deploy stacks into the namespaces' real names.
DRY = "-dry"


def _moved(body: Json) -> Json:
    """An object in a namespace that nothing runs in."""
    found = copy.deepcopy(body)
    if found["metadata"].get("namespace", "kube-system") != "kube-system":
        found["metadata"]["namespace"] += DRY
    return found


def _judged(ground: Cluster, report: Json) -> list[str]:
    wanted = [_moved(one.body) for one in manifests_of(report) if one.kind not in WITHOUT_SCHEMA]
    said = ground.kubectl(
        "apply", "--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts", "-o", "name",
        "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": wanted}),
    )  # fmt: skip
    assert len(said.split()) == len(wanted)
    return said.split()


def test_every_stack_is_planned(previews: dict[str, Json]) -> None:
    assert sorted(previews) == STACKS
    assert len(STACKS) >= 6
    for name, report in previews.items():
        assert len(report["steps"]) > 20, name
        assert {step["op"] for step in report["steps"] if step["object"]} == {"create"}, name


@pytest.fixture(scope="module")
def ground(cluster: Cluster, previews: dict[str, Json]) -> Iterator[Cluster]:
    """The cluster with the namespaces that the stacks would make, and the CRDs that they need."""
    names = {
        one.name + DRY
        for report in previews.values()
        for one in manifests_of(report)
        if one.kind == "Namespace"
    }
    wanted = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in sorted(names)]
    cluster.kubectl(
        "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": wanted})
    )
    cluster.kubectl("apply", "--server-side", "-f", str(CRDS))
    cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    try:
        yield cluster
    finally:
        cluster.kubectl("delete", "-f", str(CRDS), "--wait=false")
        cluster.kubectl("delete", "namespace", *sorted(names), "--wait=false")


@pytest.mark.cluster
@pytest.mark.parametrize("stack", STACKS)
def test_the_api_server_takes_every_object(ground: Cluster, previews: dict[str, Json], stack: str) -> None:
    assert _judged(ground, previews[stack])


@pytest.mark.cluster
async def test_the_operators_own_definitions_take_its_monitors_and_rules(ground: Cluster) -> None:
    config, secret = load_config(ROOT, "onprem")
    operator = {"namespace": "monitoring", "labels": {"release": "prometheus"}}
    report = await deployer.preview(
        RunRequest(
            program=ROOT / "stacks",
            project="berth",
            stack="onprem",
            root=ROOT,
            config={**config, "berth:monitoring": json.dumps({"mode": "operator", "operator": operator})},
            secret_keys=secret,
            offline=True,
        )
    )
    assert report.ok, report.diagnostics
    said = _judged(ground, report.to_json())
    monitors = {one.partition("/")[2] for one in said if one.startswith("podmonitor.")}
    assert monitors == {"berth-gateway", "berth-engine", "berth-metrics-adapter", "berth-collector"}
    assert len([one for one in said if one.startswith("prometheusrule.")]) >= 5
    assert not [one for one in said if one.startswith("statefulset.") and "prometheus" in one]

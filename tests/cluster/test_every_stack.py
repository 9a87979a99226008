"""The Kubernetes objects of every shipped stack, judged by strict schemas and by a real API server."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
from kubernetes_validate import utils

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
VERSIONS = ("1.34", "1.35", "1.36")
# Kinds of which Kubernetes itself has no schema, and where theirs comes from.
FOREIGN = {
    ("karpenter.sh/v1", "NodePool"): "tests/cluster/crds",
    ("eks.amazonaws.com/v1", "NodeClass"): "AWS publishes none: it exists inside of EKS Auto Mode only",
}
UNKNOWN, SECRET = "[unknown]", "[secret]"


@pytest.fixture(scope="module")
def previews(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Json]:
    """The report of every stack, planned without any credential, kubeconfig or network."""
    home = tmp_path_factory.mktemp("home")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "BERTH_CACHE": str(home / "cache"),
        "BERTH_CLUSTER": "nonesuch",
    }
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-m", "berth.cli", "preview", "--all", "--json"],
        env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-6000:]
    found = json.loads(done.stdout)
    assert found["ok"]
    return {report["stack"]: report for report in found["previews"]}


def objects(report: Json) -> list[Json]:
    """The manifests of a report, in the order in which they would be applied."""
    return [
        step["newState"]["inputs"]
        for step in report["steps"]
        if step["newState"]
        and step["newState"]["custom"]
        and step["newState"]["type"].startswith("kubernetes:")
    ]


def known(value: Any) -> Any:
    """The value, with what only an `up` can know or what is secret replaced by something that fits."""
    if isinstance(value, dict):
        return {
            key: {"planned": "bGF0ZXI="} if key in {"data", "stringData"} and item == SECRET else known(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [known(item) for item in value]
    return "planned-later" if value in (UNKNOWN, SECRET) else value


def test_every_stack_is_planned(previews: dict[str, Json]) -> None:
    assert sorted(previews) == STACKS
    assert len(STACKS) >= 6
    for name, report in previews.items():
        assert len(report["steps"]) > 20, name
        assert {step["op"] for step in report["steps"] if step["object"]} == {"create"}, name


@pytest.fixture(scope="module", autouse=True)
def _schemas_read_once() -> Iterator[None]:
    # The library reads megabytes of definitions anew for every object.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", functools.cache(utils.schema_contents))
        yield


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("stack", STACKS)
def test_strict_schemas_take_every_object(previews: dict[str, Json], stack: str, version: str) -> None:
    judged = 0
    for manifest in objects(previews[stack]):
        if (manifest["apiVersion"], manifest["kind"]) in FOREIGN:
            continue
        kubernetes_validate.validate(known(manifest), version, strict=True)
        judged += 1
    assert judged > 5


@pytest.fixture(scope="module")
def ground(cluster: Cluster, previews: dict[str, Json]) -> Iterator[Cluster]:
    """The cluster with the namespaces that the stacks would make, and the CRDs that they need."""
    names = {
        o["metadata"]["name"]
        for report in previews.values()
        for o in objects(report)
        if o["kind"] == "Namespace"
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
    wanted = [
        known(manifest)
        for manifest in objects(previews[stack])
        if (manifest["apiVersion"], manifest["kind"]) not in FOREIGN or manifest["kind"] == "NodePool"
    ]
    said = ground.kubectl(
        "apply", "--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts", "-o", "name",
        "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": wanted}),
    )  # fmt: skip
    assert len(said.split()) == len(wanted)

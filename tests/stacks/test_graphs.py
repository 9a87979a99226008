"""What every shipped stack plans, compared with what was reviewed: graphs/<stack>.json.

A change of settings or components shows there as a diff. After a change that is meant:

    BERTH_UPDATE_GRAPHS=1 .venv/bin/python -m pytest tests/stacks/test_graphs.py

The plans come from the deployer's offline preview: no account, no credential, no network, no cluster.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from typing import TYPE_CHECKING, Any

import pytest
from berth import deployer
from berth.deployer import RunRequest, load_config

if TYPE_CHECKING:
    from pathlib import Path

Json = dict[str, Any]
STACKS = (
    *("local", "local-hybrid", "onprem", "aws-dev", "aws-prod", "gcp-dev", "gcp-prod"),
    *("hybrid-dev", "hybrid-prod"),
)
LOCAL = {"local": ("local",), "local-hybrid": ("home", "cloud")}
UPDATE = "BERTH_UPDATE_GRAPHS"
PRELOAD = (
    *("pydantic", "pulumi_kubernetes.apps.v1", "pulumi_kubernetes.core.v1", "pulumi_kubernetes.rbac.v1"),
    *("pulumi_aws.ec2", "pulumi_aws.eks", "pulumi_aws.iam", "pulumi_gcp.compute", "pulumi_gcp.container"),
)
_GENERATED = re.compile(r"-monitoring-(prometheus-rules|grafana-(?!sources|folders)[a-z-]+)$")
_MADE_OF_THEM = re.compile(r"-monitoring-(prometheus|grafana)-stateful-set$")
# A kubeconfig's path holds the home folder of whoever runs this.
_HOME = re.compile(r'"[^"]*/\.kube/config"')


@pytest.fixture(scope="module")
def reports(root: Path) -> dict[str, Any]:
    """The offline previews of all shipped stacks, from one warm process."""

    def request(stack: str) -> RunRequest:
        config, secret = load_config(root, stack)
        if stack in LOCAL:
            # What the command lays over it, as fixtures.
            connections = {
                site: {"kubeconfig": f"fixture-{site}.kubeconfig", "nodeAddress": "198.18.0.2"}
                for site in LOCAL[stack]
            }
            config = {**config, "berth:connections": json.dumps(connections)}
        return RunRequest(
            program=root / "stacks",
            project="berth",
            stack=stack,
            root=root,
            config=config,
            secret_keys=secret,
            offline=True,
        )

    async def all_of_them() -> list[Any]:
        interpreter = deployer.Interpreter(preload=PRELOAD)
        try:
            return await deployer.previews([request(one) for one in STACKS], interpreter=interpreter)
        finally:
            interpreter.close()

    return dict(zip(STACKS, asyncio.run(all_of_them()), strict=True))


def _outlined(name: str, inputs: Json) -> Json:
    """Without the texts of rules and dashboards, which have tests of their own; which there are is kept."""
    if "ConfigMap::" in name and _GENERATED.search(name):
        return {**inputs, "data": dict.fromkeys(inputs["data"], "generated")}
    if _MADE_OF_THEM.search(name):
        inputs["spec"]["template"]["metadata"]["annotations"]["berth.dev/config-checksum"] = "generated"
    return inputs


def _short(urn: str) -> str:
    """Type and name of a URN; "" for the stack."""
    if not urn:
        return ""
    *_, kinds, name = urn.split("::")
    kind = kinds.rpartition("$")[2]
    return "" if kind == "pulumi:pulumi:Stack" else f"{kind}::{name}"


def graph(report: Json) -> list[Json]:
    """A plan, flat and in one order; unknown values and secrets are masked already."""
    every = {
        _short(step["urn"]): {_short(urn) for urn in step["newState"]["dependencies"]}
        for step in report["steps"]
    }
    found = []
    for step in report["steps"]:
        state = step["newState"]
        inputs = json.loads(_HOME.sub('"~/.kube/config"', json.dumps(state["inputs"])))
        found.append(
            {
                "resource": _short(state["urn"]),
                "parent": _short(state.get("parent") or ""),
                "after": sorted(_least(every, _short(state["urn"]))),
                "inputs": _outlined(_short(state["urn"]), inputs),
            }
        )
    return sorted(found, key=lambda one: (one["resource"], one["parent"]))


def _least(every: dict[str, set[str]], name: str) -> set[str]:
    """What a resource comes after, without what that comes after itself."""
    direct = every[name]
    return direct - {further for one in direct if one in every for further in every[one]}


def _text(resources: list[Json]) -> str:
    """One line for each resource's inputs would hide what changed: one for each field."""
    return json.dumps(resources, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def test_there_is_a_graph_of_every_shipped_stack(root: Path) -> None:
    shipped = {
        file.name.removeprefix("Pulumi.").removesuffix(".yaml") for file in root.glob("stacks/Pulumi.*.yaml")
    }
    assert set(STACKS) <= shipped


@pytest.mark.parametrize("stack", STACKS)
def test_a_plan_is_as_it_was_reviewed(reports: dict[str, Any], root: Path, stack: str) -> None:
    report = reports[stack].to_json()
    assert report["ok"], report["diagnostics"]
    file = root / "tests" / "stacks" / "graphs" / f"{stack}.json"
    planned = _text(graph(report))
    if os.environ.get(UPDATE):
        file.parent.mkdir(exist_ok=True)
        file.write_text(planned, encoding="utf-8")
    assert planned == file.read_text(encoding="utf-8"), f"if it is meant, set {UPDATE}=1 and review the diff"


@pytest.mark.parametrize("stack", [one for one in STACKS if one not in LOCAL])
def test_no_secret_and_nothing_invented(reports: dict[str, Any], root: Path, stack: str) -> None:
    """Numbers of accounts, digests and the like that nobody gave are the reserved ones."""
    text = (root / "tests" / "stacks" / "graphs" / f"{stack}.json").read_text(encoding="utf-8")
    accounts = set(re.findall(r"arn:aws[a-z-]*:[a-z0-9-]*:[a-z0-9-]*:([0-9]{12}):", text))
    assert accounts <= {"000000000000"}
    assert str(root) not in text
    findings = reports[stack].to_json()["outputs"]["findings"]
    assert findings == sorted(findings)
    assert any("apiKeys" in one for one in findings)


def test_volumes_suit_the_machines_that_they_are_attached_to(reports: dict[str, Any]) -> None:
    """TPU v6e takes no persistent disk, which GKE's default class makes; elsewhere nothing is said."""
    steps = {_short(step["urn"]): step["newState"] for step in reports["gcp-prod"].to_json()["steps"]}

    def weights(model: str) -> Any:
        deployment = steps[f"kubernetes:apps/v1:Deployment::google-{model}-deployment"]["inputs"]
        (volume,) = [
            one for one in deployment["spec"]["template"]["spec"]["volumes"] if one["name"] == "weights"
        ]
        return volume["ephemeral"]["volumeClaimTemplate"]["spec"].get("storageClassName")

    made = steps["kubernetes:storage.k8s.io/v1:StorageClass::google-hyperdisk"]["inputs"]
    assert weights("chat") == made["metadata"]["name"] == "berth-hyperdisk-balanced"
    assert weights("large") is None


def test_model_servers_come_after_their_pools(reports: dict[str, Any]) -> None:
    """And so they go before them."""
    steps = {_short(step["urn"]): step["newState"] for step in reports["aws-dev"].to_json()["steps"]}
    deployment = steps["kubernetes:apps/v1:Deployment::aws-chat-deployment"]
    needed = {_short(urn) for urn in deployment["dependencies"]}
    assert needed >= {
        "aws:eks/nodeGroup:NodeGroup::aws-chat-nodes",
        "kubernetes:apps/v1:Deployment::aws-autoscaler-deployment",
        "kubernetes:apps/v1:DaemonSet::aws-nvidia-daemon-set",
    }

"""The derived RBAC is enough, on a real API server: somebody who has nothing else deploys with it."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from berth.deployer import RunRequest, down, preview, up
from berth.permissions import derive, rbac_manifests

if TYPE_CHECKING:
    from pathlib import Path

    from berth.deployer import Interpreter
    from berth.localcluster import Cluster

PROGRAM = """
import pulumi, pulumi_kubernetes as k8s
config = pulumi.Config()
on = pulumi.ResourceOptions(provider=k8s.Provider("here", kubeconfig=config.require("kubeconfig")))
name = config.require("name")
space = k8s.core.v1.Namespace("space", metadata={"name": name}, opts=on)
inside = {"namespace": space.metadata.name}
k8s.core.v1.ConfigMap("settings", metadata={"name": "settings", **inside}, data={"a": "b"}, opts=on)
k8s.core.v1.Secret("key", metadata={"name": "key", **inside}, string_data={"a": "b"}, opts=on)
rules = [{"api_groups": [""], "resources": ["nodes"], "verbs": ["list"]}]
k8s.rbac.v1.ClusterRole("reader", metadata={"name": name}, rules=rules, opts=on)
"""


@pytest.mark.cluster
async def test_who_has_the_derived_rules_only_can_deploy_update_and_destroy(
    cluster: Cluster, tmp_path: Path, interpreter: Interpreter
) -> None:
    name = f"least-{secrets.token_hex(3)}"
    (tmp_path / "__main__.py").write_text(PROGRAM)
    document = yaml.safe_load(cluster.kubeconfig.read_text())
    for user in document["users"]:
        user["user"]["as"] = name  # the API server decides by this user's rights
    limited = yaml.safe_dump(document)
    config = {"demo:kubeconfig": limited, "demo:name": name}

    def request(**options: Any) -> RunRequest:
        return RunRequest(tmp_path, "demo", name, config, frozenset({"demo:kubeconfig"}), **options)

    async def grant(*, first_up: bool) -> None:
        plan = await preview(request(offline=True), interpreter=interpreter)
        manifests = rbac_manifests(derive(plan), first_up=first_up)
        bound = [one for manifest in manifests for one in (manifest, _binding(manifest, name))]
        await kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(bound))

    async def kubectl(*arguments: str, stdin: str | None = None) -> None:
        await asyncio.to_thread(cluster.kubectl, *arguments, stdin=stdin)

    try:
        refused = await up(request(), interpreter=interpreter)
        assert not refused.ok
        assert "forbidden" in refused.errors[0].message.lower()
        await grant(first_up=True)
        made = await up(request(), interpreter=interpreter)
        assert made.ok, made.errors
        assert made.summary == {"create": 4}
        await grant(first_up=False)  # from now on the Roles will do
        again = await up(request(), interpreter=interpreter)
        assert again.ok, again.errors
        assert again.summary == {"same": 4}
        gone = await down(request(), interpreter=interpreter)
        assert gone.ok, gone.errors
    finally:
        for kind in ("clusterrole", "clusterrolebinding"):
            await kubectl("delete", kind, f"berth-deploy-{name}", "--ignore-not-found")


def _binding(manifest: dict[str, Any], user: str) -> dict[str, Any]:
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": f"{manifest['kind']}Binding",
        "metadata": manifest["metadata"],
        "roleRef": {"apiGroup": group, "kind": manifest["kind"], "name": manifest["metadata"]["name"]},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }

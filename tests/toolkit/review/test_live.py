"""A review against a real cluster: what the API server says would change, and what it refuses to."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest
from berth.deployer import Interpreter, RunRequest, down, preview, up
from berth.review import Review, comment, live

if TYPE_CHECKING:
    from pathlib import Path

    from berth.localcluster import Cluster

pytestmark = pytest.mark.cluster
PROGRAM = """
import pulumi
import pulumi_kubernetes as k8s

config = pulumi.Config()
on = pulumi.ResourceOptions(provider=k8s.Provider("here", kubeconfig=config.require("kubeconfig")))
name, version = config.require("name"), config.require("version")
space = k8s.core.v1.Namespace("space", metadata={"name": name}, opts=on)
meta = {"name": "a", "namespace": space.metadata.name}
labels = {"app": f"a-{version}"}
k8s.core.v1.ConfigMap("settings", metadata=meta, data={"version": version, "same": "1"}, opts=on)
key = pulumi.Output.secret(f"canary-{version}")
k8s.core.v1.Secret("keys", metadata=meta, string_data={"key": key}, opts=on)
k8s.apps.v1.Deployment(
    "server",
    metadata=meta,
    spec={
        "replicas": 0,
        "selector": {"match_labels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "a", "image": "a.invalid/a:1"}]},
        },
    },
    opts=on,
)
if version == "1":
    k8s.core.v1.ConfigMap("old", metadata={**meta, "name": "old"}, opts=on)
else:
    k8s.core.v1.ConfigMap("new", metadata={**meta, "name": "new"}, opts=on)
"""


async def test_a_review_says_what_the_api_server_says(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "__main__.py").write_text(PROGRAM)
    name = f"review-{secrets.token_hex(3)}"

    def request(version: str) -> RunRequest:
        config = {"demo:kubeconfig": str(cluster.kubeconfig), "demo:name": name, "demo:version": version}
        return RunRequest(tmp_path, "demo", name, config)

    interpreter = Interpreter()
    try:
        done = await up(request("1"), interpreter=interpreter)
        assert done.ok, done.diagnostics
        same = live(await preview(request("1"), interpreter=interpreter))
        assert (same.state, same.changes) == ("same", ())
        stack = live(await preview(request("2"), interpreter=interpreter))
    finally:
        gone = await down(request("1"), interpreter=interpreter)
        interpreter.close()
    assert gone.ok, gone.diagnostics
    assert {(entry.op, entry.name) for entry in stack.changes} == {
        ("update", "settings"),
        ("update", "keys"),
        ("replace", "server"),
        ("create", "new"),
        ("delete", "old"),
    }
    server = next(entry for entry in stack.changes if entry.name == "server")
    assert "spec.selector" in {reason.path for reason in server.reasons}
    text = comment(Review("the cluster", "here", (stack,)))
    assert "canary" not in text
    assert '- data.version: "1"\n+ data.version: "2"' in text

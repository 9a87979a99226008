"""A stack belongs to the engine that made it: each refuses the other's, on a real cluster."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pytest
from berth import automation, deployer
from berth.deployer.state import STATE_NAMESPACE, record_name

if TYPE_CHECKING:
    from berth.localcluster import Cluster

PROGRAM = """
import pulumi, pulumi_kubernetes as k8s
config = pulumi.Config()
provider = k8s.Provider("here", kubeconfig=config.require("kubeconfig"))
on = pulumi.ResourceOptions(provider=provider)
name = config.require("namespace")
k8s.core.v1.Namespace("space", metadata={"name": name}, opts=on)
"""


@pytest.fixture
def placed(world: Any, cluster: Cluster) -> Any:
    """Make the project's program put a namespace on the cluster; its stack has a name of its own."""
    (world.project / "app" / "__main__.py").write_text(PROGRAM)
    world.stack = f"dev-{secrets.token_hex(3)}"
    world.stack_file.rename(world.stack_file.with_name(f"Pulumi.{world.stack}.yaml"))
    kubeconfig = cluster.kubeconfig.read_text()
    config = {"demo:kubeconfig": kubeconfig, "demo:namespace": world.stack}
    made = world.request(config, ("demo:kubeconfig",), stack=world.stack)
    world.knows(world.stack)
    return world, made


@pytest.mark.cluster
async def test_the_deployers_stack_is_refused_by_the_cli_until_it_is_down(placed: Any) -> None:
    world, request = placed
    shared = {"interpreter": world.interpreter}
    assert (await deployer.up(request, **shared)).ok
    try:
        for command in (world.preview, world.up, world.down):
            with pytest.raises(automation.DeployersStack, match=f"berth down {request.stack}"):
                await command(request)
        assert not world.operations()
    finally:
        assert (await deployer.down(request, **shared)).ok
    assert (await world.preview(request)).ok


@pytest.mark.cluster
async def test_the_clis_stack_is_refused_by_the_deployer_until_it_is_down(placed: Any) -> None:
    world, request = placed
    shared = {"interpreter": world.interpreter}
    assert (await world.up(request)).ok
    try:
        refused = await deployer.up(request, **shared)
        assert not refused.ok
        assert "was deployed by the Pulumi CLI (--engine pulumi)" in refused.errors[0].message
        assert record_name("demo", request.stack) in refused.errors[0].message
        assert (await world.up(request)).ok  # the CLI itself is not refused
    finally:
        report = await world.down(request)
    assert report.ok
    assert not [d for d in report.diagnostics if d.severity == "warning"]
    preview = await deployer.preview(request, **shared)
    assert preview.ok, preview.errors
    assert preview.summary == {"create": 1}


async def test_a_cluster_that_does_not_answer_is_a_warning(world: Any) -> None:
    world.knows()
    (world.project / "app" / "__main__.py").write_text(PROGRAM)
    nowhere = (
        '{"apiVersion": "v1", "kind": "Config", "current-context": "x", "contexts": [{"name": "x", '
        '"context": {"cluster": "x", "user": "x"}}], "users": [{"name": "x", "user": {}}], "clusters": [{'
        '"name": "x", "cluster": {"server": "https://127.0.0.1:9"}}]}'
    )
    request = world.request({"demo:kubeconfig": nowhere, "demo:namespace": "n"}, ("demo:kubeconfig",))
    report = await world.preview(request)
    assert report.ok
    (warning,) = report.diagnostics
    assert warning.code == "engine"
    assert "could not ask context 'x'" in warning.message
    assert STATE_NAMESPACE not in warning.message

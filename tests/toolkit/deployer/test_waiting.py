"""Waiting for readiness on real nodes, and saying why something is not ready."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from berth.deployer import Report, render

if TYPE_CHECKING:
    from berth.localcluster import Cluster

    from .conftest import Stack

pytestmark = pytest.mark.cluster
HELPERS = """
image = config.require("image")

def pod(code="import time; time.sleep(3600)", **more):
    container = {"name": "main", "image": config.get("bad") or image, "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-u", "-c", code], **more}
    return {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [container],
        "terminationGracePeriodSeconds": 1}}

def deployment(key="web", template=None, wait="60", **spec):
    return k8s.apps.v1.Deployment(key, metadata={"name": key, "namespace": name,
        "annotations": {"pulumi.com/timeoutSeconds": wait}},
        spec={"selector": {"matchLabels": {"app": "x"}}, "template": template or pod(), **spec}, opts=on)
"""


def fine(report: Report) -> Report:
    assert report.ok, render(report)
    return report


@pytest.fixture(scope="session")
def image(cluster: Cluster) -> str:
    """Name an image with Python that the node has, or put it there."""
    found = [name for name in cluster.images() if "/model-server:" in name]
    if not found:
        from berth_images import build  # noqa: PLC0415 - only where the cluster has none yet

        built = build("model-server")
        cluster.import_image(built.tar)
        found = [built.reference]
    return found[0]


@pytest.fixture
def live(stack: Stack, image: str) -> Stack:
    stack.extra = {"demo:image": image}
    return stack


async def up(stack: Stack, body: str) -> Report:
    stack.write(HELPERS + body)
    return await stack.up()


async def test_a_deployment_and_its_service_are_waited_for(live: Stack) -> None:
    done = fine(
        await up(
            live,
            """
web = deployment(replicas=2)
service = k8s.core.v1.Service("svc", metadata={"name": "svc", "namespace": name},
    spec={"selector": {"app": "x"}, "ports": [{"port": 80}]}, opts=on)
pulumi.export("ready", web.status.ready_replicas)
pulumi.export("ip", service.spec.cluster_ip)
""",
        )
    )
    assert done.outputs["ready"] == 2
    assert done.outputs["ip"].startswith("198.")
    assert any(e.startswith("waiting: waiting for Deployment") for e in live.events)
    assert fine(await live.up()).changes == []
    changed = fine(await up(live, 'deployment(replicas=2, template=pod("import time; time.sleep(3601)"))'))
    assert {step.name: step.op.value for step in changed.changes} == {"web": "update", "svc": "delete"}
    assert live.get("deployment/web", ".status.updatedReplicas") == "2"


async def test_a_wrong_image_says_so_while_waiting_and_at_the_end(live: Stack) -> None:
    live.extra["demo:bad"] = "berth.local/there-is-none:1"
    failed = await up(live, 'deployment(wait="8")')
    assert not failed.ok
    (error,) = failed.errors
    assert error.code == "not-ready"
    assert [(step.name, step.op.value, step.note) for step in failed.changes] == [
        ("web", "create", "not ready")
    ]
    assert "not ready within 8 s: 0 of 1 available" in error.message
    assert "there-is-none" in error.message
    assert "ErrImagePull" in error.message or "ImagePullBackOff" in error.message
    assert any("there-is-none" in e and e.startswith("waiting:") for e in live.events)


async def test_a_crash_shows_its_last_lines_and_never_a_secret(live: Stack) -> None:
    live.extra["demo:key"] = "canary-in-a-log"
    live.secret = frozenset({"demo:key"})
    failed = await up(
        live,
        """
code = "import os, sys; print('the key is', os.environ['KEY']); print('boom'); sys.exit(3)"
deployment(wait="8", minReadySeconds=6, template=pod(code,
    env=[{"name": "KEY", "value": config.require_secret("key")}]))
""",
    )
    assert not failed.ok
    text = failed.errors[0].message
    assert "exit code 3" in text
    assert "| boom" in text
    assert "| the key is [secret]" in text
    everything = render(failed, diff=True, same=True) + str(failed.to_json()) + "".join(live.events)
    assert "canary-in-a-log" not in everything


async def test_no_progress_is_a_failure_before_the_time_is_over(live: Stack) -> None:
    live.extra["demo:bad"] = "berth.local/there-is-none:1"
    failed = await up(live, 'deployment(wait="300", progressDeadlineSeconds=3)')
    assert "no progress for 3 s" in failed.errors[0].message
    assert failed.seconds < 100


async def test_what_failed_is_waited_for_again_by_the_next_run(live: Stack) -> None:
    live.extra["demo:bad"] = "berth.local/there-is-none:1"
    assert not (await up(live, 'deployment(wait="3")')).ok
    again = await live.up()
    assert not again.ok, "an unchanged object of a run that failed is still waited for"
    assert again.changes == []
    del live.extra["demo:bad"]
    fine(await up(live, "deployment()"))


async def test_jobs_pods_claims_and_sets(live: Stack) -> None:
    done = fine(
        await up(
            live,
            """
k8s.batch.v1.Job("job", metadata={"name": "job", "namespace": name}, spec={"template": {
    "metadata": {}, "spec": {**pod("")["spec"], "restartPolicy": "Never"}}}, opts=on)
k8s.core.v1.Pod("pod", metadata={"name": "pod", "namespace": name}, spec=pod()["spec"], opts=on)
k8s.core.v1.PersistentVolumeClaim("claim", metadata={"name": "claim", "namespace": name}, spec={
    "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}, opts=on)
k8s.apps.v1.StatefulSet("set", metadata={"name": "set", "namespace": name}, spec={"serviceName": "x",
    "selector": {"matchLabels": {"app": "x"}}, "template": pod()}, opts=on)
k8s.apps.v1.DaemonSet("daemons", metadata={"name": "daemons", "namespace": name}, spec={
    "selector": {"matchLabels": {"app": "x"}}, "template": pod()}, opts=on)
k8s.core.v1.Service("headless", metadata={"name": "headless", "namespace": name},
    spec={"clusterIP": "None", "selector": {"app": "nobody"}}, opts=on)
k8s.core.v1.Service("free", metadata={"name": "free", "namespace": name}, spec={"ports": [{"port": 1}]},
    opts=on)
""",
        )
    )
    assert done.summary == {"create": 7}
    assert live.get("statefulset/set", ".status.readyReplicas") == "1"
    assert live.get("daemonset/daemons", ".status.numberAvailable") == "1"
    assert live.get("job/job", ".status.succeeded") == "1"
    assert fine(await live.up()).changes == []


async def test_a_failed_job_shows_why(live: Stack) -> None:
    failed = await up(
        live,
        """
k8s.batch.v1.Job("job", metadata={"name": "job", "namespace": name}, spec={"backoffLimit": 0, "template": {
    "metadata": {}, "spec": {**pod("print('no luck'); exit(4)")["spec"], "restartPolicy": "Never"}}}, opts=on)
""",
    )
    text = failed.errors[0].message
    assert "BackoffLimitExceeded" in text
    assert "| no luck" in text


async def test_waiting_can_be_switched_off_or_told_what_for(live: Stack) -> None:
    live.extra["demo:bad"] = "berth.local/there-is-none:1"
    skipped = """
k8s.apps.v1.Deployment("web", metadata={"name": "web", "namespace": name,
    "annotations": {"pulumi.com/skipAwait": "true"}},
    spec={"selector": {"matchLabels": {"app": "x"}}, "template": pod()}, opts=on)
"""
    fine(await up(live, skipped))
    wait_for = """
k8s.core.v1.ConfigMap("flag", metadata={"name": "flag", "namespace": name, "annotations": {
    "pulumi.com/waitFor": "jsonpath={.data.go}=yes", "pulumi.com/timeoutSeconds": "20"}}, data={"a": "1"},
    opts=on)
"""
    live.write(HELPERS + skipped + wait_for)
    running = asyncio.create_task(live.up())
    async with asyncio.timeout(30):
        while not any("data.go is not there" in e for e in live.events):  # noqa: ASYNC110 - a plain list
            await asyncio.sleep(0.05)
    patch = '{"data":{"go":"yes"}}'
    live.cluster.kubectl("patch", "configmap", "flag", "-n", live.name, "-p", patch)
    fine(await running)


async def test_a_service_that_its_deployment_waits_for_does_not_block(live: Stack) -> None:
    fine(
        await up(
            live,
            """
service = k8s.core.v1.Service("svc", metadata={"name": "svc", "namespace": name},
    spec={"selector": {"app": "x"}, "ports": [{"port": 80}]}, opts=on)
on = pulumi.ResourceOptions.merge(on, pulumi.ResourceOptions(depends_on=[service]))
deployment()
""",
        )
    )


async def test_replacing_a_claim_waits_until_the_old_one_is_gone(live: Stack) -> None:
    program = """
k8s.core.v1.PersistentVolumeClaim("claim", metadata={"name": "claim", "namespace": name}, spec={
    "accessModes": ["%s"], "resources": {"requests": {"storage": "1Mi"}}}, opts=on)
"""
    fine(await up(live, program % "ReadWriteOnce"))
    uid = live.get("pvc/claim", ".metadata.uid")
    done = fine(await up(live, program % "ReadWriteOncePod"))
    assert [step.op.value for step in done.changes] == ["replace"]
    assert live.get("pvc/claim", ".metadata.uid") != uid

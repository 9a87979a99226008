"""Real faults on the local cluster: the doctor names each first, and `status` shows what runs.

Each is put in by other means than the stack, found, and taken out again. What waits waits for conditions.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from berth.deployer.state import record_name
from berth.operations.diagnosis import AskedServer, Finding, diagnose, look

from tests.checkouts import copy_of, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from berth.localcluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
NAMESPACE, SERVER = "berth-local", "deployment/smollm2"
PATIENCE = 120
Json = dict[str, Any]


class Stack:
    """The stack `local`, deployed from a copy of this checkout."""

    def __init__(self, checkout: Path, cluster: Cluster) -> None:
        self.cluster = cluster
        self._checkout = checkout
        self.key = ""
        self._environment = environment(checkout, cluster.name)

    def berth(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "berth.cli", *words],
            cwd=self._checkout, env=self._environment, capture_output=True, text=True, check=False,
            timeout=600,
        )  # fmt: skip

    def kubectl(self, *words: str) -> str:
        return self.cluster.kubectl("-n", NAMESPACE, *words)

    def get(self, *words: str) -> Json:
        found: Json = json.loads(self.kubectl("get", *words, "-o", "json"))
        return found

    def patch(self, what: str, change: Json, *more: str) -> None:
        self.kubectl("patch", what, "--type=strategic", "-p", json.dumps(change), *more)

    def findings(self) -> list[Finding]:
        """What the command's own look finds, without a new process each time."""
        looking = look(
            stack="local",
            record_name=record_name("berth", "local"),
            site="local",
            kubeconfig=str(self.cluster.kubeconfig),
            context="",
            namespaces=[NAMESPACE, "berth-metrics"],
            asked=[AskedServer("smollm2", NAMESPACE, autoscaled=True)],
            adapter="berth-metrics",
            key=self.key,
        )
        return diagnose(asyncio.run(looking))

    def first(self, wanted: Callable[[Finding], bool]) -> Finding:
        """The doctor's first finding, once it is the wanted one; the world takes its time to break."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = self.findings()
            if found[0].state == "trouble" and wanted(found[0]):
                return found[0]
            assert time.monotonic() < deadline, found[:4]
            time.sleep(0.5)

    def until_healthy(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while (found := self.findings())[0].state == "trouble":
            assert time.monotonic() < deadline, found[:4]
            time.sleep(0.5)

    @contextlib.contextmanager
    def changed(self, pod_spec: Json) -> Iterator[None]:
        """A rollout of changed pods, which the old ones outlive; taken back at the end."""
        self.patch(SERVER, {"spec": {"template": {"spec": pod_spec}}})
        try:
            yield
        finally:
            self.kubectl("rollout", "undo", SERVER)
            self.kubectl("rollout", "status", SERVER, "--timeout=120s")


@pytest.fixture(scope="module")
def stack(cluster: Cluster, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(copy_of(root, tmp_path_factory.mktemp("checkout")), cluster)
    done = made.berth("up", "local", "--yes", "--take-back")
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-4000:]
    made.key = made.berth("key", "local").stdout.strip()
    try:
        yield made
    finally:
        made.berth("down", "local", "--yes")


def engine(**changes: Any) -> Json:
    return {"containers": [{"name": "engine", **changes}]}


def said(finding: Finding) -> str:
    return " ".join([finding.subject, finding.found, *finding.evidence, *finding.remedy])


def test_a_healthy_stack(stack: Stack) -> None:
    stack.until_healthy()
    done = stack.berth("doctor", "local")
    assert "Deployment berth-local/smollm2: 1 of 1 replicas are Ready" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert done.returncode in {0, 1}, done.stdout  # a busy machine's CPU limit is a warning
    assert "TROUBLE" not in done.stdout

    def status() -> tuple[Json, Json]:
        done = stack.berth("status", "local", "--json")
        assert done.returncode == 0, done.stderr
        (site,) = json.loads(done.stdout)["sites"]
        (server,) = site["servers"]
        return site, server

    site, server = status()
    deadline = time.monotonic() + PATIENCE
    # Prometheus has rates once it has asked twice.
    while server["load"]["tokens_per_second"] is None and time.monotonic() < deadline:
        time.sleep(1)
        site, server = status()
    assert (server["ready"], server["desired"], server["complete"]) == (1, 1, True)
    assert server["load"]["slots"] == 2
    assert server["load"]["tokens_per_second"] is not None
    assert server["autoscaling"]["maximum"] == 3
    assert site["deployed"].startswith("succeeded at ")
    shown = stack.berth("status", "local")
    assert "1 of 1 replicas ready" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80


def test_an_image_that_is_not_there(stack: Stack) -> None:
    with stack.changed(engine(image="berth.invalid/engine:none", imagePullPolicy="IfNotPresent")):
        first = stack.first(lambda one: one.check == "image")
    assert "the image of its container engine does not come" in said(first)
    assert "berth.invalid/engine:none" in said(first)


def test_a_selector_that_no_node_meets(stack: Stack) -> None:
    with stack.changed({"nodeSelector": {"berth.dev/pool": "nowhere"}}):
        # Before its volume is there, the scheduler speaks of that.
        wanted = "no node has the label berth.dev/pool=nowhere"
        stack.first(lambda one: one.check == "pending" and wanted in said(one))


def test_a_taint_that_nobody_tolerates(stack: Stack) -> None:
    (node,) = (one["metadata"]["name"] for one in stack.get("nodes")["items"])
    stack.kubectl("taint", "node", node, "example.com/maintenance=now:NoSchedule")
    try:
        stack.kubectl("rollout", "restart", SERVER)
        taint = "{example.com/maintenance: now}"
        first = stack.first(lambda one: one.check == "pending" and taint in said(one))
    finally:
        stack.kubectl("taint", "node", node, "example.com/maintenance-")
    assert "tolerations" in said(first)
    stack.kubectl("rollout", "status", SERVER, "--timeout=120s")


def test_a_memory_limit_below_the_model(stack: Stack) -> None:
    tight = {"limits": {"memory": "24Mi", "cpu": "1"}, "requests": {"memory": "24Mi", "cpu": "100m"}}
    with stack.changed(engine(resources=tight)):
        first = stack.first(lambda one: one.check == "crash")
    assert "its container engine was killed for memory: it took all of its limit of 24Mi" in said(first)
    assert "memoryLimit" in said(first)


def test_a_key_secret_with_another_key_and_with_none(stack: Stack) -> None:
    secret = stack.get("secret", "smollm2-api-keys")["data"]
    other = {entry: base64.b64encode(b"somebody-elses-key").decode() for entry in secret}
    try:
        stack.patch("secret/smollm2-api-keys", {"data": other})
        # The kubelet looks at a pod that changes at once, at Secrets within a minute or so.
        stack.kubectl("annotate", "pod", "--all", "example.com/look=now")
        first = stack.first(lambda one: one.check == "keys")
        assert "does not take the key that this machine has for the stack (401)" in said(first)
        assert "Secret berth-local/smollm2-api-keys has: local" in said(first)
        assert "somebody-elses-key" not in repr(stack.findings())
        stack.patch("secret/smollm2-api-keys", {"data": dict.fromkeys(secret, "")})
        first = stack.first(lambda one: one.check == "secret")
        assert "it holds an empty key: local" in said(first)
    finally:
        stack.patch("secret/smollm2-api-keys", {"data": secret})
        stack.kubectl("annotate", "pod", "--all", "--overwrite", "example.com/look=again")
    stack.until_healthy()


def test_an_engine_that_is_stopped(stack: Stack) -> None:
    pods = [one for one in stack.get("pods")["items"] if not one["metadata"].get("deletionTimestamp")]
    (uid,) = (one["metadata"]["uid"] for one in pods)
    stopped = _processes(uid, "berth_serving.engines.llama_cpp")
    assert stopped
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        first = stack.first(lambda one: one.check == "not-ready")
        assert "its engine does not answer, though it did before" in said(first)
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    stack.kubectl("wait", "pod", "--all", "--for=condition=Ready", "--timeout=120s")


def test_a_metrics_adapter_that_is_deleted(stack: Stack) -> None:
    stack.cluster.kubectl("-n", "berth-metrics", "delete", "deployment/berth-metrics-adapter")
    try:
        first = stack.first(lambda one: one.check == "scaling/adapter")
        assert "the metrics adapter is not there: autoscalers see no queue" in said(first)
        # What follows from it says so, and is told after it.
        stack.kubectl("wait", "hpa/smollm2", "--for=condition=ScalingActive=False", "--timeout=120s")
        (blind,) = (one for one in stack.findings() if one.check == "scaling/blind")
        assert blind.follows == first.subject
    finally:
        done = stack.berth("up", "local")  # as the finding's remedy says
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    stack.until_healthy()


def test_a_quota_that_leaves_no_room_and_a_budget_that_allows_no_eviction(stack: Stack) -> None:
    stack.kubectl("create", "quota", "tight", "--hard=pods=1")
    stack.kubectl("patch", "pdb/smollm2", "--type=merge", "-p", '{"spec": {"maxUnavailable": 0}}')
    try:
        stack.kubectl("rollout", "restart", SERVER)
        first = stack.first(lambda one: one.check == "quota")
        assert "its pods are refused: quota tight of the namespace is used up" in said(first)
        others = {one.check: said(one) for one in stack.findings()}
        assert "it allows no eviction, ever" in others["disruption"]
    finally:
        stack.kubectl("delete", "quota", "tight")
        stack.kubectl("patch", "pdb/smollm2", "--type=merge", "-p", '{"spec": {"maxUnavailable": 1}}')
    stack.kubectl("rollout", "status", SERVER, "--timeout=120s")


def test_a_snapshot_of_it_holds_no_secret_and_says_the_same(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "seen.json"
    stack.berth("doctor", "local", "--save", str(file))
    text = file.read_text()
    keys = stack.get("secret", "smollm2-api-keys")["data"]
    assert keys
    for value in keys.values():
        assert value not in text
        assert base64.b64decode(value).decode().strip() not in text
    shown = stack.berth("doctor", "--snapshot", str(file))
    assert "Deployment berth-local/smollm2: 1 of 1 replicas are Ready" in shown.stdout


def _processes(pod_uid: str, words: str) -> list[int]:
    """Processes of a pod, seen from outside it, whose command line has these words."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            mine = pod_uid in (folder / "cgroup").read_text()
            if mine and words in (folder / "cmdline").read_text().replace("\0", " "):
                found.append(int(folder.name))
    return found

"""A recorded healthy stack, broken in one way after another: each is found first, with what shows it.

`snapshots/local.json` is what `./berth doctor local --save` kept on the local cluster; what breaks it is put
in as an API server and a kubelet say it. Real faults are in tests/cluster/test_doctor_faults.py.
"""

from __future__ import annotations

import copy
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from berth.operations.diagnosis import Snapshot, as_json, diagnose, exit_code, page
from berth.operations.diagnosis.logs import harmless
from berth.operations.diagnosis.probes import samples
from berth.operations.diagnosis.read import _trimmed
from berth.operations.status import Machines, status
from berth.operations.status import page as status_page

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]
RECORDED = Path(__file__).parent / "snapshots" / "local.json"
RUNBOOKS = frozenset(file.stem for file in (Path(__file__).parents[3] / "docs" / "runbooks").glob("*.md"))


class World:
    """A recorded stack that can be broken."""

    def __init__(self) -> None:
        (self.seen,) = json.loads(RECORDED.read_text())
        self.objects: dict[str, list[Json]] = self.seen["objects"]
        self.taken = datetime.fromisoformat(self.seen["taken"])

    def one(self, plural: str, name: str = "smollm2") -> Json:
        return next(one for one in self.objects[plural] if one["metadata"]["name"].startswith(name))

    @property
    def pod(self) -> Json:
        return self.one("pods")

    @property
    def values(self) -> dict[str, float]:
        values: dict[str, float] = self.seen["readings"][0]["values"]
        return values

    def ago(self, seconds: float) -> str:
        return (self.taken - timedelta(seconds=seconds)).isoformat()

    def container(self, name: str) -> Json:
        states = self.pod["status"]["initContainerStatuses"] + self.pod["status"]["containerStatuses"]
        found: Json = next(one for one in states if one["name"] == name)
        return found

    def condition(self, item: Json, kind: str, state: str, reason: str = "", message: str = "") -> None:
        conditions = item.setdefault("status", {}).setdefault("conditions", [])
        item["status"]["conditions"] = [one for one in conditions if one["type"] != kind] + [
            {"type": kind, "status": state, "reason": reason, "message": message}
        ]

    def event(self, item: Json, reason: str, message: str, **more: Any) -> None:
        self.objects["events"].append(
            {
                "metadata": {
                    "name": f"e{len(self.objects['events'])}",
                    "namespace": item["metadata"]["namespace"],
                },
                "involvedObject": {"uid": item["metadata"]["uid"], **more},
                "type": "Warning",
                "reason": reason,
                "message": message,
                "lastTimestamp": self.ago(5),
            }
        )

    def unready(self) -> None:
        self.condition(self.pod, "Ready", "False", "ContainersNotReady")
        self.container("gateway")["ready"] = False

    def pending(self, message: str) -> None:
        self.unready()
        self.pod["status"] |= {"phase": "Pending", "containerStatuses": [], "initContainerStatuses": []}
        self.pod["spec"].pop("nodeName", None)
        self.condition(self.pod, "PodScheduled", "False", "Unschedulable", message)
        self.seen["readings"] = []

    def waits(self, container: str, why: str, message: str = "", **last: Any) -> None:
        self.unready()
        state = self.container(container)
        state |= {
            "ready": False,
            "started": False,
            "state": {"waiting": {"reason": why, "message": message}},
        }
        if last:
            state |= {"restartCount": 4, "lastState": {"terminated": {"finishedAt": self.ago(20), **last}}}

    def log(self, container: str, *lines: str) -> None:
        shown, withheld = harmless(lines)
        self.seen["logs"].append(
            {
                "namespace": "berth-local", "pod": self.pod["metadata"]["name"], "container": container,
                "previous": True, "lines": list(shown), "withheld": withheld,
            }
        )  # fmt: skip

    def answers(self, status: int | None, problem: str = "") -> None:
        self.seen["answers"][-1] |= {"status": status, "problem": problem}

    @property
    def snapshot(self) -> Snapshot:
        return Snapshot.from_json(copy.deepcopy(self.seen))


# Each breaks the world; then: the first finding's check, its state, and words that it must have.
CASES: dict[str, tuple[Callable[[World], Any], str, str, list[str]]] = {}


def case(check: str, state: str, *words: str) -> Callable[[Callable[[World], Any]], Callable[[World], Any]]:
    def register(breaks: Callable[[World], Any]) -> Callable[[World], Any]:
        CASES[breaks.__name__] = (breaks, check, state, [*words])
        return breaks

    return register


@case("node", "trouble", "Node ", "its kubelet does not answer", "NodeStatusUnknown")
def node_lost(world: World) -> None:
    world.condition(
        world.one("nodes", ""), "Ready", "Unknown", "NodeStatusUnknown", "Kubelet stopped posting"
    )
    world.unready()


@case("node/pressure", "trouble", "runs out of disk")
def disk_pressure(world: World) -> None:
    world.condition(world.one("nodes", ""), "DiskPressure", "True", "KubeletHasDiskPressure", "kubelet has")


@case("namespace", "trouble", "Namespace berth-local", "being deleted")
def namespace_terminating(world: World) -> None:
    world.one("namespaces", "berth-local")["status"]["phase"] = "Terminating"


@case("deployed", "trouble", "Deployment berth-local/smollm2", "it is not there")
def deployment_gone(world: World) -> None:
    world.objects["deployments"].remove(world.one("deployments"))
    world.objects["pods"].remove(world.pod)


@case("deployed", "warning", "the last `up` failed", "somebody@laptop")
def up_failed(world: World) -> None:
    world.seen["record"] |= {"state": "failed"}


@case("secret", "trouble", "Secret berth-local/smollm2-api-keys", "it is not there", "no new pod can start")
def key_secret_gone(world: World) -> None:
    world.seen["secrets"][0]["sizes"] = None
    world.waits("gateway", "ContainerCreating")
    world.event(world.pod, "FailedMount", 'MountVolume.SetUp failed: secret "smollm2-api-keys" not found')


@case("secret", "trouble", "no key at all", "clients get 401")
def key_secret_without_entries(world: World) -> None:
    world.seen["secrets"][0]["sizes"] = {}


@case("secret", "trouble", "an empty key: local")
def key_empty(world: World) -> None:
    world.seen["secrets"][0]["sizes"] = {"local": 0, "other": 40}


@case("secret", "warning", "Secret berth-local/registry", "a registry may refuse", "pullSecrets")
def pull_secret_gone(world: World) -> None:
    world.one("deployments")["spec"]["template"]["spec"]["imagePullSecrets"] = [{"name": "registry"}]
    world.seen["secrets"].append({"namespace": "berth-local", "name": "registry", "sizes": None})


@case("config", "trouble", "ConfigMap berth-local/smollm2-engine")
def config_gone(world: World) -> None:
    world.objects["configmaps"].remove(world.one("configmaps", "smollm2-engine"))


@case("volume", "trouble", "storage class fast, which the cluster does not have", "standard")
def storage_class_unknown(world: World) -> None:
    claim = world.one("persistentvolumeclaims", "")
    claim["status"] = {"phase": "Pending"}
    claim["spec"]["storageClassName"] = "fast"
    world.pending("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.")


@case("quota", "trouble", "quota gpus of the namespace is used up", "exceeded quota")
def quota_exceeded(world: World) -> None:
    world.one("deployments")["spec"]["replicas"] = 2
    replica_set = world.one("replicasets")
    replica_set["spec"]["replicas"] = 2
    world.event(
        replica_set, "FailedCreate",
        'pods "smollm2-x" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=1, used: 4',
    )  # fmt: skip


@case("admission", "trouble", "break the namespace's Pod Security level")
def pod_security(world: World) -> None:
    replica_set = world.one("replicasets")
    replica_set["spec"]["replicas"] = 2
    world.event(
        replica_set, "FailedCreate", 'pods "x" is forbidden: violates PodSecurity "restricted:latest"'
    )


@case("pending", "trouble", "no node has the label berth.dev/pool=l4", "nodeSelector: berth.dev/pool=l4")
def selector(world: World) -> None:
    world.pending("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.")
    world.pod["spec"]["nodeSelector"] = {"berth.dev/pool": "l4"}


@case("pending", "trouble", "the taint {team: search}", "placement.tolerations")
def taint(world: World) -> None:
    world.pending("0/1 nodes are available: 1 node(s) had untolerated taint(s) {team: search}.")


@case("pending", "trouble", "the taint {example.com/maintenance: now}, which it does not tolerate")
def taint_of_another_release(world: World) -> None:
    world.pending("0/1 nodes are available: 1 node(s) had untolerated taint {example.com/maintenance: now}.")


@case("pending", "trouble", "the taint {team: search}, which it does not tolerate", "placement.tolerations")
def taint_that_the_scheduler_does_not_name(world: World) -> None:
    world.pending("0/1 nodes are available: 1 node(s) had untolerated taint(s).")
    world.one("nodes", "")["spec"]["taints"] = [
        {"key": "team", "value": "search", "effect": "NoSchedule"},
        {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"},
        {"key": "better", "value": "not", "effect": "PreferNoSchedule"},
    ]
    world.pod["spec"]["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists"}]


@case("pending", "trouble", "too little cpu, nvidia.com/gpu is free", "it asks for", "pools.<name>.max")
def no_room(world: World) -> None:
    world.pending("0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient nvidia.com/gpu.")
    world.event(world.pod, "NotTriggerScaleUp", "pod didn't trigger scale-up: max node group size reached")


@case("image", "trouble", "the registry has no image of that name and tag", "engine")
def image_tag(world: World) -> None:
    world.waits("engine", "ImagePullBackOff", 'Back-off pulling image "x"')
    image = world.container("engine")["image"]
    world.event(world.pod, "Failed", f'Failed to pull image "{image}": rpc error: code = NotFound: not found')


@case("image", "trouble", "the registry does not let the cluster in", "pullSecrets")
def image_denied(world: World) -> None:
    world.waits("engine", "ErrImagePull", "pull access denied: 401 Unauthorized")


@case("image", "trouble", "the nodes do not reach the registry")
def image_unreachable(world: World) -> None:
    world.waits("engine", "ErrImagePull", "dial tcp: lookup registry.example: i/o timeout")


@case("image", "trouble", "placeholder", "./berth images pin")
def image_unpinned(world: World) -> None:
    world.waits("engine", "ErrImagePull", "dial tcp: lookup unpinned.invalid: no such host")


@case("crash", "trouble", "killed for memory: it took all of its limit of 640Mi", "ContainerOutOfMemory")
def out_of_memory(world: World) -> None:
    world.waits("engine", "CrashLoopBackOff", exitCode=137, reason="OOMKilled")


@case("crash", "trouble", "was restarted: Container engine failed liveness probe", "wedged")
def liveness(world: World) -> None:
    world.waits("engine", "CrashLoopBackOff", exitCode=137, reason="Error")
    world.event(world.pod, "Killing", "Container engine failed liveness probe, will be restarted")


@case(
    "crash",
    "trouble",
    "ends with exit code 1",
    "CUDA error: no kernel image",
    "lines of the log are not shown",
)
def crash_with_log(world: World) -> None:
    world.waits("engine", "CrashLoopBackOff", exitCode=1, reason="Error")
    world.log(
        "engine", "loaded 42 tensors", "RuntimeError: CUDA error: no kernel image", 'prompt: "my secret"'
    )


@case("crash", "warning", "1 restart", "exit code 139 (a segmentation fault)")
def restarted_once(world: World) -> None:
    ended = {"finishedAt": world.ago(60), "exitCode": 139, "reason": "Error"}
    world.container("engine").update(restartCount=1, lastState={"terminated": ended})


@case("weights", "trouble", "not those that were pinned", "./berth weights pin")
def weights_digest(world: World) -> None:
    world.waits("weights", "CrashLoopBackOff", exitCode=1, reason="Error")
    world.log("weights", "berth-weights: model.gguf has SHA-256 00ff, BERTH_WEIGHTS_SHA256 is b179: mismatch")


@case("weights", "trouble", "too small for the weights", "weights.size")
def weights_space(world: World) -> None:
    world.waits("weights", "CrashLoopBackOff", exitCode=1, reason="Error")
    world.log("weights", "berth-weights: no space left on device")


@case("weights", "trouble", "does not reach the hub")
def weights_network(world: World) -> None:
    world.waits("weights", "CrashLoopBackOff", exitCode=1, reason="Error")
    world.log("weights", "berth-weights: hub.example: Temporary failure in name resolution")


@case("container", "trouble", "cannot be made", 'configmap "x" not found')
def container_config(world: World) -> None:
    world.waits("gateway", "CreateContainerConfigError", 'configmap "x" not found')


@case("not-ready", "trouble", "its engine does not answer, though it did before", "berth_engine_wedged 1")
def engine_wedged(world: World) -> None:
    world.unready()
    world.values.update(berth_engine_ready=0, berth_engine_wedged=1, berth_engine_losses_total=1)


@case("not-ready", "trouble", "is not up after", "it may take", "startupSeconds")
def starting_too_long(world: World) -> None:
    world.unready()
    world.container("gateway")["started"] = False
    world.container("gateway")["state"] = {"running": {"startedAt": world.ago(500)}}
    world.event(world.pod, "Unhealthy", "Startup probe failed", fieldPath="spec.containers{gateway}")
    world.values.pop("berth_engine_ready")


@case("keys", "trouble", "does not take the key that this machine has", "has: local", "./berth drift")
def key_of_another(world: World) -> None:
    world.answers(401)


@case("endpoint", "trouble", "nobody answers there", "ConnectError")
def endpoint_down(world: World) -> None:
    world.answers(None, "ConnectError: refused")


@case("endpoint", "unknown", "its certificate is not believed here", "--ca FILE")
def endpoint_unbelieved(world: World) -> None:
    world.answers(None, "ConnectError: [SSL: CERTIFICATE_VERIFY_FAILED] self-signed")


@case("rollout", "trouble", "its rollout is stuck", "kubectl rollout undo")
def rollout_stuck(world: World) -> None:
    world.condition(
        world.one("deployments"),
        "Progressing",
        "False",
        "ProgressDeadlineExceeded",
        "has timed out progressing",
    )


@case("replicas", "warning", "scaled to no replica at all")
def scaled_to_zero(world: World) -> None:
    world.one("deployments")["spec"]["replicas"] = 0
    world.objects["pods"].remove(world.pod)


@case("service", "trouble", "chooses no pod", "app=nobody")
def service_selector(world: World) -> None:
    world.one("services")["spec"]["selector"] = {"app": "nobody"}


@case("service", "trouble", "no load balancer was made for it")
def no_load_balancer(world: World) -> None:
    world.one("services")["spec"]["type"] = "LoadBalancer"


@case("disruption", "warning", "it allows no eviction, ever", "maxUnavailable: 1")
def budget_blocks(world: World) -> None:
    world.one("poddisruptionbudgets")["status"] = {
        "expectedPods": 1, "currentHealthy": 1, "desiredHealthy": 1, "disruptionsAllowed": 0,
    }  # fmt: skip


@case("scaling/adapter", "trouble", "berth-metrics-adapter", "autoscalers see no queue")
def adapter_gone(world: World) -> None:
    world.objects["deployments"].remove(world.one("deployments", "berth-metrics-adapter"))
    world.objects["pods"].remove(world.one("pods", "berth-metrics-adapter"))
    world.condition(
        world.one("apiservices", "v1beta1.ext"), "Available", "False", "MissingEndpoints", "no endpoints"
    )
    world.condition(
        world.one("horizontalpodautoscalers"),
        "ScalingActive",
        "False",
        "FailedGetExternalMetric",
        "unable to get",
    )


@case("scaling/api", "trouble", "it is not there", "AutoscalerBlind")
def api_service_gone(world: World) -> None:
    world.objects["apiservices"].clear()


@case("scaling/maximum", "warning", "at its maximum of 3")
def at_maximum(world: World) -> None:
    hpa = world.one("horizontalpodautoscalers")
    hpa["status"] |= {"currentReplicas": 3, "desiredReplicas": 3}
    world.condition(
        hpa, "ScalingLimited", "True", "TooManyReplicas", "the desired replica count is more than"
    )


@case("scaling", "trouble", "HorizontalPodAutoscaler berth-local/smollm2", "it is not there")
def autoscaler_gone(world: World) -> None:
    world.objects["horizontalpodautoscalers"].clear()


@case("slow/queue", "warning", "its queue is full", "32 wait and 2 run, of 34 places")
def queue_full(world: World) -> None:
    world.values.update(berth_queue_depth=32, berth_running_requests=2)


@case("slow/queue", "warning", "every slot of its engine is busy")
def slots_busy(world: World) -> None:
    world.values.update(berth_queue_depth=5, berth_running_requests=2)


@case("slow/cache", "warning", "KV cache is full", "98%")
def cache_full(world: World) -> None:
    world.values['vllm:kv_cache_usage_perc{engine="0"}'] = 0.98


@case("slow/cpu", "warning", "its CPU limit holds its container engine back", "60%")
def throttled(world: World) -> None:
    world.seen["throttling"] = [
        {"namespace": "berth-local", "pod": world.pod["metadata"]["name"], "container": "engine",
         "periods": 1000.0, "throttled": 600.0}
    ]  # fmt: skip


@case("errors", "warning", "10.0% of its requests", "generation: 10")
def failing(world: World) -> None:
    world.values.update({"tgi_request_count_total": 100, 'tgi_request_failure_total{err="generation"}': 10,
                         'tgi_request_failure_total{err="overloaded"}': 50})  # fmt: skip


@case("certificate", "warning", "expires in 3 days", "CertificateExpiring")
def certificate_soon(world: World) -> None:
    until = (world.taken + timedelta(days=3)).isoformat()
    world.seen["certificates"].append({"where": "TLS of Deployment smollm2", "until": until})


@case("certificate", "trouble", "it has expired")
def certificate_over(world: World) -> None:
    until = (world.taken - timedelta(days=1)).isoformat()
    world.seen["certificates"].append({"where": "the API server's certificate", "until": until})


@case("drift", "warning", "kubectl-edit (Update)", "--take-back")
def changed_by_hand(world: World) -> None:
    world.one("deployments")["metadata"]["managedFields"].append(
        {
            "manager": "kubectl-edit",
            "operation": "Update",
            "time": world.ago(9),
            "subresource": "",
            "template": True,
        }
    )


@case("drift", "warning", "a tag has moved")
def tag_moved(world: World) -> None:
    other = copy.deepcopy(world.pod)
    other["metadata"] |= {"name": "smollm2-other", "uid": "other"}
    other["status"]["containerStatuses"][0]["imageID"] = "docker.io/x@sha256:" + "1" * 64
    world.one("deployments")["spec"]["replicas"] = 2
    world.objects["pods"].append(other)


@case("policies", "warning", "no network policy limits its ingress")
def policies_gone(world: World) -> None:
    world.objects["networkpolicies"].clear()


@case("policies", "warning", "a rule of it lets everybody in")
def policy_open(world: World) -> None:
    world.one("networkpolicies")["spec"]["ingress"].append({"ports": [{"port": 8000}]})


@case("alerts", "warning", "alert QueueFull", "page")
def alert_fires(world: World) -> None:
    world.seen |= {"alerts_from": "Alertmanager", "alerts": [
        {"name": "QueueFull", "severity": "page", "labels": {"model": "smollm2"}, "since": world.ago(60)},
        {"name": "Watchdog", "severity": "none", "labels": {}},
    ]}  # fmt: skip


@case("permissions", "unknown", "it may not be read", "kubectl auth can-i list nodes")
def nodes_forbidden(world: World) -> None:
    del world.objects["nodes"]
    world.seen["not_read"] = [
        {"what": "nodes (/api/v1/nodes)", "reason": "403: forbidden", "forbidden": True}
    ]


@case("api", "unknown", "cannot be asked", "ConnectError")
def api_away(world: World) -> None:
    world.seen |= {"version": "", "not_read": [{"what": "cluster", "reason": "ConnectError: refused"}]}


def test_the_recorded_stack_is_healthy() -> None:
    findings = diagnose(World().snapshot)
    assert exit_code(findings) == 0
    assert {one.state for one in findings} <= {"ok", "note"}, findings


@pytest.mark.parametrize("name", CASES)
def test_each_fault_is_found_first(name: str) -> None:
    breaks, check, state, words = CASES[name]
    world = World()
    breaks(world)
    findings = diagnose(world.snapshot, RUNBOOKS)
    first = findings[0]
    said = " ".join([first.subject, first.found, *first.evidence, *first.remedy, first.runbook])
    assert (first.check, first.state) == (check, state), said
    for word in words:
        assert word in said
    assert first.remedy
    assert exit_code(findings) == (3 if state == "unknown" else 1)
    text = page(world.snapshot, findings)
    assert max(map(len, text.splitlines())) <= 80
    assert "my secret" not in text
    json.dumps(as_json(world.snapshot, findings))
    # Its own server's other troubles follow from it, so that nobody mends a symptom.
    for one in findings[1:]:
        if one.state == "trouble" and one.about & first.about and one.layer > first.layer:
            assert one.follows == first.subject


def test_what_a_healthy_part_shows_is_not_called_broken() -> None:
    """Each fault is the only trouble that does not follow from another, but where two are put in."""
    for name, (breaks, _, state, _) in CASES.items():
        world = World()
        breaks(world)
        causes = [one for one in diagnose(world.snapshot) if one.state == "trouble" and not one.follows]
        assert len(causes) == (1 if state == "trouble" else 0), (name, causes)


def test_every_alert_that_a_finding_names_has_a_runbook() -> None:
    named = set()
    for breaks, _, _, _ in CASES.values():
        world = World()
        breaks(world)
        named |= {one.alert for one in diagnose(world.snapshot)}
    assert len(named) > 10
    assert named - {""} <= RUNBOOKS


def test_a_stack_that_is_not_deployed_is_neither_broken_nor_healthy() -> None:
    world = World()
    for plural in world.objects.keys() - {"nodes", "apiservices", "storageclasses"}:
        world.objects[plural].clear()
    world.seen |= {"record": None, "outputs": {}, "answers": [], "readings": [], "secrets": []}
    findings = diagnose(world.snapshot)
    assert [one.found for one in findings if one.state != "ok"] == ["nothing of it is deployed here"]
    assert exit_code(findings) == 0
    assert page(world.snapshot, findings).startswith("site local: nothing deployed (")


def test_what_is_kept_of_objects_holds_no_value_that_may_be_a_secret() -> None:
    container = {
        "name": "main",
        "image": "x",
        "args": ["--token=canary"],
        "command": ["canary"],
        "env": [
            {"name": "A", "value": "canary"},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s"}}},
        ],
    }
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [container]}}
    deployment = {"metadata": {"name": "d"}, "spec": {"template": {"spec": {"initContainers": [container]}}}}
    settings = {
        "metadata": {"name": "c", "annotations": {"x/last-applied": "canary"}},
        "data": {"a": "canary"},
    }
    ours = {
        "metadata": {"name": "c", "labels": {"app.kubernetes.io/name": "model-server"}},
        "data": {"a": "b"},
    }
    kept = [_trimmed(one) for one in (pod, deployment, settings, ours)]
    assert "canary" not in json.dumps(kept)
    assert kept[0]["spec"]["containers"][0]["env"][1]["valueFrom"]
    assert kept[3]["data"] == {"a": "b"}


def test_a_snapshot_survives_a_file() -> None:
    world = World()
    alert_fires(world)
    certificate_soon(world)
    crash_with_log(world)
    kept = json.loads(json.dumps(world.snapshot.to_json()))
    assert Snapshot.from_json(kept) == world.snapshot
    for wrong, said in (
        ({}, "snapshot: None"),
        ({**kept, "more": 1}, "more"),
        ({**kept, "asked": 3}, "no snapshot"),
    ):
        with pytest.raises(ValueError, match=said):
            Snapshot.from_json(wrong)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('{"level": "error", "message": "engine lost", "reason": "timeout", "prompt": "private"}',
         "error: engine lost reason=timeout"),
        ("INFO Received request cmpl-1: prompt: 'private', params", None),
        ("ERROR request failed: prompt='private'", "ERROR request failed:"),
        ('127.0.0.1 "POST /v1/completions HTTP/1.1" 500 error', '127.0.0.1 "POST'),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
         "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"),
        ("the answer to your private question", None),
    ],
)  # fmt: skip
def test_no_text_of_anybody_is_shown(line: str, shown: str | None) -> None:
    lines, withheld = harmless([line])
    assert lines == (() if shown is None else (shown,))
    assert withheld == (shown is None)
    assert "private" not in " ".join(lines)


def test_metrics_are_read_without_buckets() -> None:
    text = '# TYPE a histogram\na_bucket{le="+Inf"} 2\na_count 2\na_sum 3\nb{y="1",x="2"} 4\n'
    assert samples(text) == {"a_count": 2.0, "a_sum": 3.0, 'b{x="2",y="1"}': 4.0}
    assert samples("what is this {") == {}


def test_status_of_the_recorded_stack() -> None:
    world = World()
    world.values.update(
        {"berth_queue_depth": 3, "berth_running_requests": 2, "tgi_request_success_total": 40,
         'berth_time_to_first_token_seconds_sum{route="a"}': 8,
         'berth_time_to_first_token_seconds_count{route="a"}': 40}
    )  # fmt: skip
    found = status(world.snapshot, (), {"berth-local/smollm2": {"tokens": 12.5, "requests": 0.5}})
    (server,) = found.servers
    assert (server.ready, server.desired, server.complete) == (1, 1, True)
    assert server.revision.startswith("sha256:b179c9523d0e")
    assert server.variant == "main"
    assert all("@sha256:" in image for image in server.images.values())
    assert server.autoscaling is not None
    assert (server.autoscaling.minimum, server.autoscaling.maximum) == (1, 3)
    assert ("berth_queue_depth", "0", "4") in server.autoscaling.metrics
    assert server.load is not None
    assert (server.load.waiting, server.load.running, server.load.slots) == (3, 2, 2)
    assert server.load.first_token_seconds == pytest.approx(0.2)
    text = status_page(found)
    assert "12.5 tokens/s" in " ".join(text.split())
    assert "no monitoring" in text
    assert max(map(len, text.splitlines())) <= 80


def test_status_counts_what_is_there_and_says_what_it_does_not_know() -> None:
    world = World()
    node = world.one("nodes", "")
    node["metadata"]["labels"]["berth.dev/pool"] = "l4"
    node["status"]["allocatable"]["nvidia.com/gpu"] = "4"
    known = Machines("local/l4", "g6.xlarge in eu-central-1, on-demand", {"berth.dev/pool": "l4"}, "", 0.8)
    replica = Machines(
        "local/smollm2", "replica in local, on-demand", None, "smollm2", None, "no price of replica"
    )
    found = status(world.snapshot, [known])
    assert found.cost is not None
    assert found.cost.usd_per_hour == pytest.approx(0.8)
    assert found.groups is not None
    assert (found.groups[0].name, found.groups[0].accelerators) == ("l4", {"nvidia.com/gpu": 4})
    # A sum with a gap would be too low.
    gap = status(world.snapshot, [known, replica])
    assert gap.cost is not None
    assert gap.cost.usd_per_hour is None
    assert "unknown: no price of replica" in status_page(gap)
    nodes_forbidden(world)
    blind = status(world.snapshot, [known])
    assert blind.groups is None
    assert "nodes may not be listed" in " ".join(status_page(blind).split())


def test_status_of_a_site_out_of_reach_says_what_is_missing() -> None:
    world = World()
    api_away(world)
    found = status(world.snapshot)
    assert not found.reached
    assert "unknown    ConnectError: refused" in status_page(found)

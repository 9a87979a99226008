"""Ways to break a stack, and what a doctor has to say first of each."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.toolkit.operations.world import World

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

"""Series that make each alert fire, and series that come near and do not."""

from __future__ import annotations

from tests.monitoring.promtool import CHAT, Case, gateway, series

PAGE, TICKET, INFO = "page", "ticket", "info"
DAY = 86400


def up(job: str, value: str, **labels: str) -> dict[str, str]:
    return {series("up", job=job, site="aws", instance="x:1", **labels): value}


def pods(name: str, values: list[str]) -> dict[str, str]:
    return {gateway(name, f"chat-{number}"): value for number, value in enumerate(values)}


def adapter(none: str, told: str) -> dict[str, str]:
    labels = {"job": "berth-metrics-adapter", "site": "aws"}
    return {
        series("berth_adapter_ready", **labels): "1x20",
        series("berth_adapter_asked", **labels): "1x20",
        series("berth_adapter_answers_total", **labels, metric="berth_queue_depth", outcome="none"): none,
        series("berth_adapter_answers_total", **labels, metric="berth_queue_depth", outcome="told"): told,
    }


def kube(name: str, **labels: str) -> str:
    return series(name, job="kube-state-metrics", site="aws", **labels)


def gpu(name: str, **labels: str) -> str:
    return series(name, job="dcgm", site="aws", node="n1", gpu="0", **labels)


def node(name: str, **labels: str) -> str:
    return series(name, job="node", site="aws", node="n1", **labels)


def disk(name: str) -> str:
    return node(f"node_filesystem_{name}", fstype="ext4", mountpoint="/", device="/dev/vda")


SERVING = [
    Case("SiteDown", PAGE, up("berth-gateway", "0x20"), up("berth-gateway", "1x20"), 10),
    Case("AutoscalerBlind", PAGE, adapter("0+1x20", "7x20"), adapter("0+1x20", "0+1x20"), 10),
    Case(
        "ModelUnavailable",
        PAGE,
        pods("berth_engine_ready", ["0x20", "0x20"]),
        pods("berth_engine_ready", ["0x20", "1x20"]),
        10,
    ),
    Case(
        "ReplicasMissing",
        TICKET,
        pods("berth_engine_ready", ["1x60", "0x60"]),
        pods("berth_engine_ready", ["1x60", "1x60"]),
    ),
    Case(
        "AutoscalerAtMaximum",
        TICKET,
        pods("berth_engine_ready", ["1x60"] * 4) | pods("berth_queue_depth", ["0x60", "3x60"]),
        pods("berth_engine_ready", ["1x60"] * 4) | pods("berth_queue_depth", ["0x60", "0x60"]),
    ),
    Case(
        "KvCacheFull",
        TICKET,
        {series("vllm:kv_cache_usage_perc", job="berth-engine", pod="chat-1", **CHAT.labels): "0.99x60"},
        {series("vllm:kv_cache_usage_perc", job="berth-engine", pod="chat-1", **CHAT.labels): "0.9x60"},
    ),
    *(
        Case(
            "CertificateExpiring",
            severity,
            {gateway("berth_certificate_expires_timestamp_seconds"): f"{3600 + days * DAY / 2}x60"},
            {gateway("berth_certificate_expires_timestamp_seconds"): f"{3600 + days * DAY * 2}x60"},
        )
        for severity, days in ((PAGE, 2), (TICKET, 14))
    ),
    Case(
        "EngineNotReady",
        TICKET,
        {
            gateway("berth_engine_ready"): "0x20",
            gateway("berth_draining"): "0x20",
            gateway("berth_engine_loading"): "0x20",
        },
        {
            gateway("berth_engine_ready"): "0x20",
            gateway("berth_draining"): "1x20",
            gateway("berth_engine_loading"): "0x20",
            gateway("berth_engine_ready", "chat-2"): "0x20",
            gateway("berth_draining", "chat-2"): "0x20",
            gateway("berth_engine_loading", "chat-2"): "1x20",
        },
        10,
    ),
    Case(
        "EngineWedged",
        PAGE,
        {gateway("berth_engine_wedged"): "1x20"},
        {gateway("berth_engine_wedged"): "1x8 0x20"},
        10,
    ),
    Case(
        "EngineLost",
        TICKET,
        {gateway("berth_engine_losses_total"): "2x30 3x30"},
        {gateway("berth_engine_losses_total"): "3x60"},
        35,
    ),
    Case(
        "EngineCrashLooping",
        PAGE,
        {gateway("berth_engine_losses_total"): "0x30 1x5 2x5 3x20"},
        {gateway("berth_engine_losses_total"): "0x30 1x5 2x30"},
        50,
    ),
    Case(
        # Full, with the gaps that a full queue has.
        "QueueFull",
        PAGE,
        pods("llm_active_requests", [" ".join(["128x3 96"] * 5)])
        | pods("berth_max_concurrent_requests", ["128x20"]),
        pods("llm_active_requests", [" ".join(["128 60x3"] * 5)])
        | pods("berth_max_concurrent_requests", ["128x20"]),
        10,
    ),
    Case(
        "SlotsSaturated",
        TICKET,
        pods("berth_running_requests", ["16x60"])
        | pods("berth_engine_slots", ["16x60"])
        | pods("berth_queue_depth", ["2x60"]),
        pods("berth_running_requests", ["16x60"])
        | pods("berth_engine_slots", ["16x60"])
        | pods("berth_queue_depth", ["0x60"]),
    ),
    Case(
        "MixedRevisions",
        TICKET,
        {
            gateway("berth_server_info", "a", revision="1", engine="vllm"): "1x80",
            gateway("berth_server_info", "b", revision="2", engine="vllm"): "1x80",
        },
        {
            gateway("berth_server_info", "a", revision="1", engine="vllm"): "1x40 stale",
            gateway("berth_server_info", "b", revision="2", engine="vllm"): "1x80",
        },
        75,
    ),
    Case(
        "GatewayRestarting",
        TICKET,
        {gateway("process_start_time_seconds"): "1x10 2x5 3x5 4x20"},
        {gateway("process_start_time_seconds"): "1x10 2x30"},
        30,
    ),
    Case(
        "SpansDropped",
        TICKET,
        {gateway("berth_spans_dropped_total"): "0+1x60"},
        {gateway("berth_spans_dropped_total"): "7x60"},
    ),
]

KUBE = [
    Case(
        alert,
        TICKET,
        {kube(name, namespace="berth-prod", **labels): "1x60"},
        {
            kube(name, namespace="berth-prod", **labels): "0x60",
            kube(name, namespace="elsewhere", **labels): "1x60",
        },
    )
    for alert, name, labels in (
        (
            "RolloutStuck",
            "kube_deployment_status_condition",
            {"deployment": "chat", "condition": "Progressing", "status": "false"},
        ),
        ("PodsUnschedulable", "kube_pod_status_unschedulable", {"pod": "chat-1"}),
        (
            "PodCrashLooping",
            "kube_pod_container_status_waiting_reason",
            {"pod": "chat-1", "container": "engine", "reason": "CrashLoopBackOff"},
        ),
        (
            "ImageMissing",
            "kube_pod_container_status_waiting_reason",
            {"pod": "chat-1", "container": "engine", "reason": "ErrImagePull"},
        ),
        (
            "AutoscalerNotScaling",
            "kube_horizontalpodautoscaler_status_condition",
            {"horizontalpodautoscaler": "chat", "condition": "ScalingActive", "status": "false"},
        ),
    )
]
KUBE += [
    Case(
        "ContainerOutOfMemory",
        TICKET,
        {
            kube(
                "kube_pod_container_status_restarts_total",
                namespace="berth-prod",
                pod="p",
                container="engine",
            ): "0x5 1x9",
            kube(
                "kube_pod_container_status_last_terminated_reason",
                namespace="berth-prod",
                pod="p",
                container="engine",
                reason="OOMKilled",
            ): "1x20",
        },
        {
            kube(
                "kube_pod_container_status_restarts_total",
                namespace="berth-prod",
                pod="p",
                container="engine",
            ): "0x5 1x9",
            kube(
                "kube_pod_container_status_last_terminated_reason",
                namespace="berth-prod",
                pod="p",
                container="engine",
                reason="Error",
            ): "1x20",
        },
        10,
    ),
    Case(
        "QuotaNearlyUsed",
        TICKET,
        {
            kube(
                "kube_resourcequota", namespace="berth-prod", resourcequota="gpus", resource="g", type="used"
            ): "95x60",
            kube(
                "kube_resourcequota", namespace="berth-prod", resourcequota="gpus", resource="g", type="hard"
            ): "100x60",
        },
        {
            kube(
                "kube_resourcequota", namespace="berth-prod", resourcequota="gpus", resource="g", type="used"
            ): "80x60",
            kube(
                "kube_resourcequota", namespace="berth-prod", resourcequota="gpus", resource="g", type="hard"
            ): "100x60",
        },
    ),
    Case(
        "NodeNotReady",
        TICKET,
        {kube("kube_node_status_condition", node="n1", condition="Ready", status="unknown"): "1x60"},
        {kube("kube_node_status_condition", node="n1", condition="Ready", status="true"): "1x60"},
    ),
    Case(
        "SpotInterruption",
        INFO,
        {kube("kube_node_spec_taint", node="n1", key="aws-node-termination-handler/spot-itn"): "1x5"},
        {kube("kube_node_spec_taint", node="n1", key="nvidia.com/gpu"): "1x5"},
        3,
    ),
]

MACHINES = [
    Case(
        "GpuXidGrave",
        PAGE,
        {gpu("DCGM_FI_DEV_XID_ERRORS"): "0x5 79x5"},
        {gpu("DCGM_FI_DEV_XID_ERRORS"): "13x20"},
        8,
    ),
    Case(
        "GpuXid",
        TICKET,
        {gpu("DCGM_FI_DEV_XID_ERRORS"): "0x5 13x5"},
        {gpu("DCGM_FI_DEV_XID_ERRORS"): "79x20"},
        8,
    ),
    Case(
        "GpuMemoryErrors",
        PAGE,
        {gpu("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL"): "0x20 1x20"},
        {gpu("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL"): "1x40", gpu("DCGM_FI_DEV_ROW_REMAP_FAILURE"): "0x40"},
        25,
    ),
    Case(
        "GpuThrottled",
        TICKET,
        {gpu("DCGM_FI_DEV_CLOCKS_EVENT_REASONS"): "68x20"},
        {gpu("DCGM_FI_DEV_CLOCKS_EVENT_REASONS"): "5x20"},
        15,
    ),
    Case(
        "NodeDiskFull",
        PAGE,
        {disk("avail_bytes"): "4x20", disk("size_bytes"): "100x20", disk("readonly"): "0x20"},
        {disk("avail_bytes"): "4x20", disk("size_bytes"): "100x20", disk("readonly"): "1x20"},
        10,
    ),
    Case(
        "NodeDiskFilling",
        TICKET,
        {disk("avail_bytes"): "19-0.02x400", disk("size_bytes"): "100x400", disk("readonly"): "0x400"},
        {disk("avail_bytes"): "15x400", disk("size_bytes"): "100x400", disk("readonly"): "0x400"},
        400,
    ),
    Case(
        "NodeMemoryLow",
        TICKET,
        {node("node_memory_MemAvailable_bytes"): "4x20", node("node_memory_MemTotal_bytes"): "100x20"},
        {node("node_memory_MemAvailable_bytes"): "40x20", node("node_memory_MemTotal_bytes"): "100x20"},
        15,
    ),
    Case(
        "NodeOutOfMemory",
        TICKET,
        {node("node_vmstat_oom_kill"): "3x10 4x5"},
        {node("node_vmstat_oom_kill"): "4x15"},
        12,
    ),
    Case(
        "VolumeNearlyFull",
        TICKET,
        {
            series(
                "kubelet_volume_stats_available_bytes",
                job="kubernetes-kubelet",
                site="aws",
                persistentvolumeclaim="p",
            ): "5x20",
            series(
                "kubelet_volume_stats_capacity_bytes",
                job="kubernetes-kubelet",
                site="aws",
                persistentvolumeclaim="p",
            ): "100x20",
        },
        {
            series(
                "kubelet_volume_stats_available_bytes",
                job="kubernetes-kubelet",
                site="aws",
                persistentvolumeclaim="p",
            ): "50x20",
            series(
                "kubelet_volume_stats_capacity_bytes",
                job="kubernetes-kubelet",
                site="aws",
                persistentvolumeclaim="p",
            ): "100x20",
        },
        20,
    ),
    Case(
        "KubeletCertificateExpiring",
        TICKET,
        {
            series(
                "kubelet_certificate_manager_client_ttl_seconds", job="kubernetes-kubelet", node="n1"
            ): f"{DAY}x20"
        },
        {
            series(
                "kubelet_certificate_manager_client_ttl_seconds", job="kubernetes-kubelet", node="n1"
            ): f"{30 * DAY}x20"
        },
        20,
    ),
]

"""Alerts on machines: GPUs (DCGM), disks and memory (node exporter), nodes and volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berth_components.monitoring.alert import INFO, PAGE, TICKET, Alert, Unwatched, quoted, title
from berth_components.monitoring.facts import DCGM, KUBE_STATE, KUBELET, NODE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from berth_components.monitoring.facts import Server

_GPU = "GPU {{ $labels.gpu }} of {{ $labels.node }}"
_HERE = "{{ $labels.node }}"
GRAVE_XIDS = (48, 63, 64, 74, 79, 92, 94, 95, 119, 120)
"""XIDs after which a GPU needs a reset or a repair, by NVIDIA's XID catalogue: double bit errors (48), row
remapping (63, 64), NVLink (74), fallen off the bus (79), high single bit rate (92), contained and uncontained
errors (94, 95), GSP (119, 120). Others are mostly a program's own."""
_SLOWED = {"hardware slowdown": 8, "software thermal": 32, "hardware thermal": 64, "power brake": 128}
"""Bits of DCGM's clock event reasons that mean heat or a lack of power; a plain power cap (4) is usual."""
SPOT_TAINTS = (
    "aws-node-termination-handler/spot-itn",
    "aws-node-termination-handler/rebalance-recommendation",
    "cloud.google.com/impending-node-termination",
    "karpenter.sh/disrupted",
)
"""Taints of machines that are about to be taken away: AWS' handler, GKE, Karpenter and EKS Auto Mode."""


def gpu_alerts() -> Iterable[Alert]:
    """What DCGM's exporter tells of faults."""
    needs = (DCGM,)
    grave = " or ".join(f"DCGM_FI_DEV_XID_ERRORS == {code}" for code in GRAVE_XIDS)
    yield Alert(
        name="GpuXidGrave",
        expr=grave,
        severity=PAGE,
        hold=0,
        summary=f"{_GPU} reports XID {{{{ $value }}}}",
        description="An error of the hardware: what runs there fails until the GPU is reset or replaced.",
        needs=needs,
    )
    others = " unless ".join(["DCGM_FI_DEV_XID_ERRORS > 0", f"({grave})"])
    yield Alert(
        name="GpuXid",
        expr=others,
        severity=TICKET,
        hold=0,
        summary=f"{_GPU} reports XID {{{{ $value }}}}",
        description="The driver saw an error, mostly of a program. DCGM shows the last one until a restart.",
        needs=needs,
    )
    yield Alert(
        name="GpuMemoryErrors",
        expr=(
            "increase(DCGM_FI_DEV_ECC_DBE_VOL_TOTAL[15m]) > 0\n"
            "or increase(DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS[15m]) > 0\n"
            "or DCGM_FI_DEV_ROW_REMAP_FAILURE > 0"
        ),
        severity=PAGE,
        hold=0,
        summary=f"The memory of {_GPU} has errors that ECC cannot correct",
        description="Answers may be wrong or the engine crash. Drain the node; the GPU needs a reset.",
        needs=needs,
    )
    bits = " + ".join(f"floor(DCGM_FI_DEV_CLOCKS_EVENT_REASONS / {bit}) % 2" for bit in _SLOWED.values())
    yield Alert(
        name="GpuThrottled",
        expr=f"{bits} > 0",
        severity=TICKET,
        hold=600,
        summary=f"{_GPU} is slowed down",
        description="By heat or a lack of power, for ten minutes. Answers come more slowly than usual.",
        needs=needs,
    )


def node_alerts() -> Iterable[Alert]:
    """What the node exporter tells."""
    needs = (NODE,)
    real = 'fstype!~"tmpfs|ramfs|overlay|squashfs|nsfs|fuse.*"'
    free = f"node_filesystem_avail_bytes{{{real}}} / node_filesystem_size_bytes{{{real}}}"
    writable = f"node_filesystem_readonly{{{real}}} == 0"
    place = f"{{{{ $labels.mountpoint }}}} on {_HERE}"
    yield Alert(
        name="NodeDiskFull",
        expr=f"{free} < 0.05 and {writable}",
        severity=PAGE,
        hold=300,
        summary=f"{place} has {{{{ $value | humanizePercentage }}}} left",
        description="The kubelet evicts pods and pulls no image; what writes there fails.",
        needs=needs,
    )
    yield Alert(
        name="NodeDiskFilling",
        expr=(
            f"{free} < 0.2 and {writable}\n"
            f"and predict_linear(node_filesystem_avail_bytes{{{real}}}[6h], 86400) < 0"
        ),
        severity=TICKET,
        hold=3600,
        summary=f"{place} is full within a day, at the rate of the last six hours",
        description="It has {{ $value | humanizePercentage }} left.",
        needs=needs,
    )
    yield Alert(
        name="NodeMemoryLow",
        expr="node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes < 0.05",
        severity=TICKET,
        hold=600,
        summary=f"{_HERE} has {{{{ $value | humanizePercentage }}}} of its memory left",
        description="The kubelet evicts pods soon, or the kernel ends something.",
        needs=needs,
    )
    yield Alert(
        name="NodeOutOfMemory",
        expr="increase(node_vmstat_oom_kill[10m]) > 0",
        severity=TICKET,
        hold=0,
        summary=f"The kernel of {_HERE} ended something for want of memory",
        description="A container at its limit, or the node itself. What it worked on failed.",
        needs=needs,
    )


def kubelet_alerts() -> Iterable[Alert]:
    """What the kubelet tells."""
    needs = (KUBELET,)
    yield Alert(
        name="VolumeNearlyFull",
        expr="kubelet_volume_stats_available_bytes / kubelet_volume_stats_capacity_bytes < 0.1",
        severity=TICKET,
        hold=900,
        summary=(
            "Volume {{ $labels.persistentvolumeclaim }} in {{ $labels.namespace }} has "
            "{{ $value | humanizePercentage }} left"
        ),
        description="What writes there fails when it is full: weights do not load, Prometheus stops.",
        needs=needs,
    )
    yield Alert(
        name="KubeletCertificateExpiring",
        expr="kubelet_certificate_manager_client_ttl_seconds < 7 * 86400",
        severity=TICKET,
        hold=900,
        summary=f"The kubelet's certificate on {_HERE} ends in {{{{ $value | humanizeDuration }}}}",
        description="It renews itself long before that; it did not. The node is lost when it ends.",
        needs=needs,
    )


def cluster_alerts(servers: Sequence[Server]) -> Iterable[Alert | Unwatched]:
    """What kube-state-metrics tells of nodes."""
    needs = (KUBE_STATE,)
    yield Alert(
        name="NodeNotReady",
        expr='kube_node_status_condition{condition="Ready", status=~"false|unknown"} == 1',
        severity=TICKET,
        hold=300,
        summary=f"Node {_HERE} is not ready",
        description="Its pods are started elsewhere, where there is room.",
        needs=needs,
    )
    if any(server.spot for server in servers):
        yield Alert(
            name="SpotInterruption",
            expr=f"kube_node_spec_taint{{key=~{quoted('|'.join(SPOT_TAINTS))}}} == 1",
            severity=INFO,
            hold=0,
            summary=f"Node {_HERE} is being taken away",
            description="Its pods drain and start elsewhere. Expected on spot machines; look if it is often.",
            needs=needs,
        )
    for server in servers:
        if not server.spot:
            yield Unwatched("SpotInterruption", title(server), "its machines cannot be taken away")

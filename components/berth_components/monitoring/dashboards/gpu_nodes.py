"""GPU nodes: accelerators, and the machines that carry them."""

from __future__ import annotations

from berth_components.monitoring.facts import CADVISOR, DCGM, GATEWAY, NODE

from .model import Dashboard, Panel, Query, Section
from .promql import SERVER, SITE, WINDOW, largest, rate

_GPU = "{{node}} GPU {{gpu}}"
_HERE = "a GPU that the gateway's container sees"
_NVML = 'max(berth_metric_source_available{source="nvml"}) > 0'
_CGROUP = 'max(berth_metric_source_available{source="cgroup"}) > 0'
_PRESSURE = 'max(berth_metric_source_available{source="pressure"}) > 0'
_IDLE, _IOWAIT = ',mode="idle"', ',mode="iowait"'
_AVAILABLE, _TOTAL = ',state="available"', ',state="total"'
_PODS = f"max by (site, namespace, pod) (berth_server_info{{{SERVER}}})"


def _dcgm(name: str) -> str:
    return f"max by (node, gpu) ({name}{{{SITE}}})"


def _containers(name: str, window: str = "") -> str:
    """Of each container of the replicas; of the whole pod where the kubelet tells no containers apart."""

    def of(match: str) -> str:
        series = f"{name}{{{SITE},{match}}}{window}"
        found = f"rate({series})" if window else series
        return f"{found} * on (site, namespace, pod) group_left () {_PODS}"

    by_container = of('container!=""')
    by_pod = of('container="",pod!=""')
    return f"sum by (pod, container) ({by_container}) or on (pod) max by (pod) ({by_pod})"


_DCGM = Section(
    "GPUs, by DCGM",
    (
        Panel(
            title="GPU utilisation",
            text="Share of time in which a GPU computed. Low under load means that it waits for something "
            "else.",
            queries=(Query(f"{_dcgm('DCGM_FI_DEV_GPU_UTIL')} / 100", _GPU),),
            unit="percentunit",
            sources=(DCGM,),
        ),
        Panel(
            title="GPU memory",
            text="Memory in use. Engines take most of it at once and keep it: it says little about load.",
            queries=(
                Query(
                    f"{_dcgm('DCGM_FI_DEV_FB_USED')} / ({_dcgm('DCGM_FI_DEV_FB_USED')} "
                    f"+ {_dcgm('DCGM_FI_DEV_FB_FREE')})",
                    _GPU,
                ),
            ),
            unit="percentunit",
            sources=(DCGM,),
        ),
        Panel(
            title="GPU temperature",
            text="Above about 85 °C most GPUs begin to slow down.",
            queries=(Query(_dcgm("DCGM_FI_DEV_GPU_TEMP"), _GPU),),
            unit="celsius",
            sources=(DCGM,),
            limits=(80, 87),
        ),
        Panel(
            title="GPU power",
            text="Power that each GPU draws.",
            queries=(Query(_dcgm("DCGM_FI_DEV_POWER_USAGE"), _GPU),),
            unit="watt",
            sources=(DCGM,),
        ),
        Panel(
            title="XID errors",
            text="Number of the last fault that the driver reported; 0 is none. NVIDIA's list says what "
            "each means.",
            queries=(Query(_dcgm("DCGM_FI_DEV_XID_ERRORS"), _GPU),),
            sources=(DCGM,),
            limits=(1, 1),
        ),
        Panel(
            title="Uncorrectable memory errors",
            text="Errors of GPU memory that could not be corrected since the driver was loaded. One is a "
            "reason to "
            "drain the node.",
            queries=(Query(_dcgm("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL"), _GPU),),
            sources=(DCGM,),
            limits=(1, 1),
        ),
    ),
)

_SEEN = Section(
    "GPUs, as the gateway sees them",
    (
        Panel(
            title="GPU memory used",
            text="All GPUs of a replica together, under the lesson's name.",
            queries=(Query(largest("llm_gpu_memory_used_bytes", by="site, model, pod"), "{{pod}}"),),
            unit="bytes",
            needs=_HERE,
            gate=_NVML,
        ),
        Panel(
            title="Memory by GPU",
            text="Memory in use and memory there is.",
            queries=(
                Query(largest("berth_gpu_memory_used_bytes", by="pod, gpu"), "{{pod}} GPU {{gpu}}"),
                Query(
                    largest("berth_gpu_memory_total_bytes", by="pod, gpu"),
                    "total {{pod}} GPU {{gpu}}",
                    line=True,
                ),
            ),
            unit="bytes",
            needs=_HERE,
            gate=_NVML,
        ),
        Panel(
            title="Utilisation by GPU",
            text="Share of the last sample period in which the GPU computed.",
            queries=(Query(largest("berth_gpu_utilisation_ratio", by="pod, gpu"), "{{pod}} GPU {{gpu}}"),),
            unit="percentunit",
            needs=_HERE,
            gate=_NVML,
        ),
        Panel(
            title="Power by GPU",
            text="Power that the GPU draws.",
            queries=(Query(largest("berth_gpu_power_watts", by="pod, gpu"), "{{pod}} GPU {{gpu}}"),),
            unit="watt",
            needs=_HERE,
            gate=_NVML,
        ),
        Panel(
            title="Temperature by GPU",
            text="Temperature of the GPU.",
            queries=(Query(largest("berth_gpu_temperature_celsius", by="pod, gpu"), "{{pod}} GPU {{gpu}}"),),
            unit="celsius",
            needs=_HERE,
            gate=_NVML,
        ),
        Panel(
            title="Sources of system metrics",
            text="1 where a gateway can read a source, 0 with the reason where it cannot.",
            queries=(
                Query(
                    f"min by (source, reason) (berth_metric_source_available{{{SERVER}}})",
                    "{{source}} {{reason}}",
                ),
            ),
        ),
    ),
)

_MACHINES = Section(
    "Machines, as the gateways see them",
    (
        Panel(
            title="Processors of the machine",
            text="Share of the machine's processor time that was used.",
            queries=(
                Query(
                    f"1 - {rate('berth_node_cpu_seconds_total', _IDLE, 'site, model, pod')} "
                    f"/ {rate('berth_node_cpu_seconds_total', by='site, model, pod')}",
                    "{{pod}}",
                ),
            ),
            unit="percentunit",
            limits=(0.85, 0.95),
        ),
        Panel(
            title="Waiting for disks",
            text="Share of the machine's processor time spent idle because a disk had not answered.",
            queries=(
                Query(
                    f"{rate('berth_node_cpu_seconds_total', _IOWAIT, 'site, model, pod')} "
                    f"/ {rate('berth_node_cpu_seconds_total', by='site, model, pod')}",
                    "{{pod}}",
                ),
            ),
            unit="percentunit",
            limits=(0.1, 0.3),
        ),
        Panel(
            title="Memory of the machine",
            text="Share of the machine's memory in use.",
            queries=(
                Query(
                    f"1 - {largest('berth_node_memory_bytes', _AVAILABLE, 'site, model, pod')} "
                    f"/ {largest('berth_node_memory_bytes', _TOTAL, 'site, model, pod')}",
                    "{{pod}}",
                ),
            ),
            unit="percentunit",
            limits=(0.85, 0.95),
        ),
        Panel(
            title="Pressure",
            text="Share of time in which something on the machine waited for processor, disk or memory.",
            queries=(
                Query(rate("berth_node_pressure_seconds_total", by="pod, resource"), "{{pod}} {{resource}}"),
            ),
            unit="percentunit",
            needs="a kernel with pressure stall information",
            gate=_PRESSURE,
        ),
        Panel(
            title="The gateway's container",
            text="Cores used, cores' worth of time in which a limit held it back, and time waiting for "
            "disks.",
            queries=(
                Query(rate("berth_container_cpu_seconds_total", by="pod"), "cores {{pod}}"),
                Query(rate("berth_container_cpu_throttled_seconds_total", by="pod"), "held back {{pod}}"),
                Query(rate("berth_container_io_wait_seconds_total", by="pod"), "waiting for disks {{pod}}"),
            ),
            needs="a cgroup of version 2",
            gate=_CGROUP,
        ),
        Panel(
            title="Memory of the gateway's container",
            text="Used, and its limit: at the limit it is killed.",
            queries=(Query(largest("berth_container_memory_bytes", by="pod, state"), "{{state}} {{pod}}"),),
            unit="bytes",
            needs="a cgroup of version 2",
            gate=_CGROUP,
        ),
    ),
)

_CONTAINERS = Section(
    "Containers of the replicas, by the kubelet",
    (
        Panel(
            title="Processor time",
            text="Cores that each container of the replicas uses, the engine among them; the pod where "
            "the kubelet "
            "tells no containers apart.",
            queries=(
                Query(
                    _containers("container_cpu_usage_seconds_total", f"[{WINDOW}]"), "{{pod}} {{container}}"
                ),
            ),
            unit="suffix: cores",
            sources=(CADVISOR, GATEWAY),
        ),
        Panel(
            title="Memory",
            text="Memory that counts against each container's limit.",
            queries=(Query(_containers("container_memory_working_set_bytes"), "{{pod}} {{container}}"),),
            unit="bytes",
            sources=(CADVISOR, GATEWAY),
        ),
    ),
)

_NODES = Section(
    "Nodes, by the node exporter",
    (
        Panel(
            title="Processors",
            text="Share of each node's processor time that was used.",
            queries=(
                Query(
                    f'1 - avg by (site, node) (rate(node_cpu_seconds_total{{{SITE},mode="idle"}}[{WINDOW}]))',
                    "{{node}}",
                ),
            ),
            unit="percentunit",
            sources=(NODE,),
            limits=(0.85, 0.95),
        ),
        Panel(
            title="I/O wait",
            text="Share of each node's processor time spent idle because a disk had not answered.",
            queries=(
                Query(
                    f'avg by (site, node) (rate(node_cpu_seconds_total{{{SITE},mode="iowait"}}[{WINDOW}]))',
                    "{{node}}",
                ),
            ),
            unit="percentunit",
            sources=(NODE,),
            limits=(0.1, 0.3),
        ),
        Panel(
            title="Memory in use",
            text="Share of each node's memory that is not available to start something new.",
            queries=(
                Query(
                    f"1 - max by (site, node) (node_memory_MemAvailable_bytes{{{SITE}}}) "
                    f"/ max by (site, node) (node_memory_MemTotal_bytes{{{SITE}}})",
                    "{{node}}",
                ),
            ),
            unit="percentunit",
            sources=(NODE,),
            limits=(0.85, 0.95),
        ),
        Panel(
            title="Disk in use",
            text="The fullest file system of each node. Weights, images and logs share it.",
            queries=(
                Query(
                    "max by (site, node) (1 - "
                    'node_filesystem_avail_bytes{site=~"$site",fstype!~"tmpfs|ramfs|overlay"} '
                    '/ node_filesystem_size_bytes{site=~"$site",fstype!~"tmpfs|ramfs|overlay"})',
                    "{{node}}",
                ),
            ),
            unit="percentunit",
            sources=(NODE,),
            limits=(0.8, 0.9),
        ),
        Panel(
            title="Disks busy",
            text="Share of time in which each node's busiest disk had something to do.",
            queries=(
                Query(
                    f"max by (site, node) (rate(node_disk_io_time_seconds_total{{{SITE}}}[{WINDOW}]))",
                    "{{node}}",
                ),
            ),
            unit="percentunit",
            sources=(NODE,),
            limits=(0.7, 0.9),
        ),
    ),
)

GPU_NODES = Dashboard(
    name="gpu-nodes",
    title="GPU nodes",
    text="Accelerators and the machines that carry them: used, short of something, or broken.",
    sections=(_DCGM, _SEEN, _MACHINES, _CONTAINERS, _NODES),
)

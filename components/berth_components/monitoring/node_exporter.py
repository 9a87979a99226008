"""The node exporter: what a node's kernel tells of processors, memory, disks, file systems and pressure.

It runs without any capability, as nobody, in a network of its own: so the network policy holds for it too.
What only the host's network shows (interfaces, connections) is therefore left out; containers' traffic comes
from the kubelet.
"""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import pulumi
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from berth_components import checks, network, pods
from berth_components.arguments import Arguments
from berth_components.monitoring import part

APP = "node-exporter"
PORT = 9100
HOST = "/host"
COLLECTORS = (
    *("cpu", "diskstats", "filesystem", "hwmon", "loadavg", "meminfo", "pressure", "stat", "time", "uname"),
    *("vmstat", "filefd", "edac"),
)
"""What is read; everything else is off."""
# Of file systems, those of the machine: not each container's.
_MOUNTS = (
    r"^/(dev|proc|sys|run/.+|var/lib/(kubelet|containerd|containers|docker)/.+"
    r"|.*/(kubelet|containerd|overlay)/.+)($|/)"
)
_TYPES = (
    "^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|hugetlbfs|mqueue|nsfs|overlay"
    "|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|sysfs|tmpfs|tracefs)$"
)


class NodeExporterArgs(TypedDict):
    """Args of `NodeExporter`."""

    namespace: pulumi.Input[str]
    """Where it is: the node agents' namespace, which exists."""
    image: pulumi.Input[str]
    """Its image, whose entrypoint is the exporter."""
    prometheus_namespace: pulumi.Input[str]
    """Where Prometheus is, which alone may ask it."""
    resources: NotRequired[part.ResourcesArgs]
    """CPU and memory. Default: 20m and 32Mi, at most 128Mi."""
    image_pull_secrets: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Secrets that exist in its namespace, for the registry."""


class NodeExporter(part.Part):
    """The node exporter on every node, whatever its taints."""

    daemon_set: pulumi.Output[str]
    """Name of the DaemonSet; known once it is declared."""

    def __init__(self, name: str, args: NodeExporterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown, missing or not allowed.
        """
        given = Arguments(f"NodeExporter '{name}'", args, NodeExporterArgs)
        namespace = given.read("namespace", checks.dns_label)
        asks = given.read("prometheus_namespace", checks.dns_label)
        image = given.read("image", checks.image)
        resources = part.resources(given, "20m", "32Mi", "128Mi")
        pull_secrets = given.read("image_pull_secrets", checks.list_of(checks.dns_label), part.NOBODY)
        super().__init__("NodeExporter", name, APP, namespace, opts)
        before = [
            self._account(),
            self._network_policy([part.admit([network.app_in(asks, "prometheus")], PORT)]),
        ]
        spec = self._pod(
            core.ContainerArgs(
                name=APP,
                image=image,
                image_pull_policy="IfNotPresent",
                args=[
                    "--collector.disable-defaults",
                    *(f"--collector.{one}" for one in COLLECTORS),
                    f"--path.procfs={HOST}/proc",
                    f"--path.sysfs={HOST}/sys",
                    f"--path.rootfs={HOST}/root",
                    f"--collector.filesystem.mount-points-exclude={_MOUNTS}",
                    f"--collector.filesystem.fs-types-exclude={_TYPES}",
                    f"--web.listen-address=0.0.0.0:{PORT}",
                    "--web.disable-exporter-metrics",
                    "--log.format=json",
                ],
                ports=[core.ContainerPortArgs(name="http", container_port=PORT, protocol="TCP")],
                resources=resources,
                security_context=pods.restricted_container(),
                startup_probe=part.probe("/", "http", period=1, failures=60),
                readiness_probe=part.probe("/", "http", period=5, failures=3),
                liveness_probe=part.probe("/", "http", period=10, failures=6),
                volume_mounts=[
                    part.mount("proc", f"{HOST}/proc"),
                    part.mount("sys", f"{HOST}/sys"),
                    core.VolumeMountArgs(
                        name="root",
                        mount_path=f"{HOST}/root",
                        read_only=True,
                        # What is mounted later counts too.
                        mount_propagation="HostToContainer",
                    ),
                ],
            ),
            [_folder("proc", "/proc"), _folder("sys", "/sys"), _folder("root", "/")],
            pull_secrets=pull_secrets,
        )
        spec.tolerations = [core.TolerationArgs(operator="Exists")]
        spec.node_selector = part.LINUX
        daemon_set = apps.DaemonSet(
            f"{name}-daemon-set",
            metadata=self._metadata(),
            spec=apps.DaemonSetSpecArgs(
                selector=meta.LabelSelectorArgs(match_labels=self._selector),
                update_strategy=apps.DaemonSetUpdateStrategyArgs(
                    type="RollingUpdate",
                    rolling_update=apps.RollingUpdateDaemonSetArgs(max_unavailable="10%"),
                ),
                template=self._template(spec),
            ),
            opts=self._child(before),
        )
        self.daemon_set = daemon_set.urn.apply(lambda _: self.object)
        self.register_outputs({"daemonSet": self.daemon_set})


def _folder(name: str, path: str) -> core.VolumeArgs:
    return core.VolumeArgs(name=name, host_path=core.HostPathVolumeSourceArgs(path=path, type="Directory"))

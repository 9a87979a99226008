"""NVIDIA's DCGM exporter: what the GPUs of a node do, and what is wrong with them.

Facts of its manifest: github.com/NVIDIA/dcgm-exporter, deployment/ (chart 4.x: port 9400, root, the kubelet's
pod-resources socket, DCGM_EXPORTER_KUBERNETES) and etc/default-counters.csv; read on 2026-11-28. Profiling
counters (DCGM_FI_PROF_*) need the capability SYS_ADMIN and not every GPU has them: none is asked for.
"""

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import pulumi
from berth_catalogue.exporters import exporters
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from berth_components import checks, network
from berth_components.arguments import Arguments
from berth_components.device_plugin import node_affinity
from berth_components.model_server_surroundings import read_toleration
from berth_components.monitoring import part

APP = "dcgm-exporter"
PORT = 9400
_COUNTERS_DIR = "/etc/berth-dcgm"
_POD_RESOURCES = "/var/lib/kubelet/pod-resources"
_WHY_ROOT = "the kubelet's socket belongs to root, and nobody else may enter its folder"


class DcgmExporterArgs(TypedDict):
    """Args of `DcgmExporter`."""

    namespace: pulumi.Input[str]
    """Where it is: the node agents' namespace, which exists."""
    image: pulumi.Input[str]
    """Its image."""
    prometheus_namespace: pulumi.Input[str]
    """Where Prometheus is, which alone may ask it."""
    node_selectors: NotRequired[Sequence[Mapping[str, pulumi.Input[str]]]]
    """Which nodes have NVIDIA GPUs: labels for each pool; a node that has all labels of one entry counts.
    Default: what NVIDIA's own charts take."""
    tolerations: NotRequired[Sequence[part.TolerationArgs]]
    """Taints of those nodes besides the accelerator's own (any value, effect NoSchedule)."""
    runtime_class: NotRequired[pulumi.Input[str]]
    """The RuntimeClass that brings the driver into a container, such as nvidia on k3s. Default: none."""
    resources: NotRequired[part.ResourcesArgs]
    """CPU and memory. Default: 100m and 256Mi, at most 512Mi."""
    image_pull_secrets: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Secrets that exist in its namespace, for the registry."""


class DcgmExporter(part.Part):
    """The DCGM exporter on the nodes of GPU pools, as root without a capability."""

    daemon_set: pulumi.Output[str]
    """Name of the DaemonSet; known once it is declared."""

    def __init__(self, name: str, args: DcgmExporterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown, missing or not allowed.
        """
        given = Arguments(f"DcgmExporter '{name}'", args, DcgmExporterArgs)
        namespace = given.read("namespace", checks.dns_label)
        asks = given.read("prometheus_namespace", checks.dns_label)
        image = given.read("image", checks.image)
        resources = part.resources(given, "100m", "256Mi", "512Mi")
        pull_secrets = given.read("image_pull_secrets", checks.list_of(checks.dns_label), part.NOBODY)
        affinity = node_affinity(given, "nvidia")
        runtime_class = given.maybe("runtime_class", checks.dns_label)
        tolerations = [
            core.TolerationArgs(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule"),
            *(read_toleration(one) for one in given.groups("tolerations", part.TolerationArgs)),
        ]
        super().__init__("DcgmExporter", name, APP, namespace, opts)
        before = [
            self._account(),
            self._network_policy([part.admit([network.app_in(asks, "prometheus")], PORT)]),
            self._config("-counters", {"counters.csv": counters()}),
        ]
        spec = self._pod(
            core.ContainerArgs(
                name=APP,
                image=image,
                image_pull_policy="IfNotPresent",
                args=["-f", f"{_COUNTERS_DIR}/counters.csv"],
                env=[
                    core.EnvVarArgs(name="DCGM_EXPORTER_KUBERNETES", value="true"),
                    core.EnvVarArgs(name="DCGM_EXPORTER_LISTEN", value=f":{PORT}"),
                    core.EnvVarArgs(name="NVIDIA_DRIVER_CAPABILITIES", value="compute,utility"),
                    # All GPUs of the node, without holding one.
                    core.EnvVarArgs(name="NVIDIA_VISIBLE_DEVICES", value="all"),
                ],
                ports=[core.ContainerPortArgs(name="http", container_port=PORT, protocol="TCP")],
                resources=resources,
                security_context=core.SecurityContextArgs(
                    allow_privilege_escalation=False,
                    read_only_root_filesystem=True,
                    capabilities=core.CapabilitiesArgs(drop=["ALL"]),
                ),
                # DCGM itself takes half a minute to start.
                startup_probe=part.probe("/health", "http", period=5, failures=24),
                readiness_probe=part.probe("/health", "http", period=10, failures=3),
                liveness_probe=part.probe("/health", "http", period=15, failures=4),
                volume_mounts=[
                    part.mount("counters", _COUNTERS_DIR),
                    part.mount("pod-resources", _POD_RESOURCES),
                    part.mount("run", "/var/run/dcgm", read_only=False),
                    part.mount("tmp", "/tmp", read_only=False),  # noqa: S108 - a volume of its own
                ],
            ),
            [
                part.config_volume("counters", f"{self.object}-counters"),
                core.VolumeArgs(
                    name="pod-resources",
                    host_path=core.HostPathVolumeSourceArgs(path=_POD_RESOURCES, type="Directory"),
                ),
                core.VolumeArgs(name="run", empty_dir=core.EmptyDirVolumeSourceArgs(size_limit="64Mi")),
                core.VolumeArgs(name="tmp", empty_dir=core.EmptyDirVolumeSourceArgs(size_limit="64Mi")),
            ],
            pull_secrets=pull_secrets,
        )
        spec.security_context = core.PodSecurityContextArgs(
            run_as_user=0, run_as_group=0, seccomp_profile=core.SeccompProfileArgs(type="RuntimeDefault")
        )
        spec.affinity = core.AffinityArgs(node_affinity=affinity)
        spec.tolerations = tolerations
        spec.runtime_class_name = runtime_class
        daemon_set = apps.DaemonSet(
            f"{name}-daemon-set",
            metadata=self._metadata(annotations={part.ROOT: _WHY_ROOT}),
            spec=apps.DaemonSetSpecArgs(
                selector=meta.LabelSelectorArgs(match_labels=self._selector),
                update_strategy=apps.DaemonSetUpdateStrategyArgs(
                    type="RollingUpdate",
                    rolling_update=apps.RollingUpdateDaemonSetArgs(max_unavailable=1),
                ),
                template=self._template(spec, part.checksum(counters()), local=["run", "tmp"]),
            ),
            opts=self._child(before),
        )
        self.daemon_set = daemon_set.urn.apply(lambda _: self.object)
        self.register_outputs({"daemonSet": self.daemon_set})


def counters() -> str:
    """The counters file: all that the catalogue has of this exporter; nothing else is exported.

    DCGM's own default has no counter of memory errors.
    """
    found = exporters()["dcgm"].metrics
    # A comma ends a field.
    return "".join(f"{name}, {one.type}, {one.text.replace(',', ';')}\n" for name, one in found.items())

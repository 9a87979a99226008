"""One node: containerd, kubelet and kube-proxy in network, mount and process namespaces of their own.

The node's folder takes the places of /var/lib/kubelet, /var/lib/containerd and /var/log inside, so that
everything lies where it lies on any node, and two nodes (or a container engine of this machine) never meet:
kubelet's device-plugin socket, for one, has a path that no setting changes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from . import network
from .addresses import Node, Plan
from .controlplane import kubeconfig_file
from .paths import ClusterPaths, run_folder
from .pki import CLUSTER, Pki, write_private
from .units import Program, Unit

if TYPE_CHECKING:
    from .build import Binaries
    from .packages import Packages

# Where the sandbox mounts something. On a machine without these folders they are made, and removed if they
# are empty.
MOUNT_POINTS = tuple(
    map(
        Path,
        (
            "/run/containerd",
            "/run/runc",
            "/run/netns",
            "/var/lib/kubelet",
            "/var/lib/containerd",
            "/var/lib/cni",
        ),
    )
)
# In memory, so that nothing of it outlives the pods it is about: the addresses given to pods are in
# /var/lib/cni.
_TEMPORARY = ("/run/containerd", "/run/runc", "/run/netns", "/var/lib/cni")
_KEPT = {"kubelet": "/var/lib/kubelet", "containerd": "/var/lib/containerd", "log": "/var/log"}
_UNUSED_PLUGINS = [f"io.containerd.snapshotter.v1.{name}" for name in ("aufs", "btrfs", "devmapper", "zfs")]


def unit_name(index: int) -> str:
    """The name of a node's unit."""
    return f"node{index}"


def socket(node: Node) -> Path:
    """The socket of the node's containerd."""
    return run_folder(node.slot) / f"node{node.index}.sock"


def containerd_root(paths: ClusterPaths, node: Node) -> Path:
    """The folder that the node's containerd has as /var/lib/containerd."""
    return paths.node(node.index) / "containerd"


def unit(node: Node, paths: ClusterPaths, binaries: Binaries, packages: Packages) -> Unit:
    """The node's unit; its network namespace and its settings must exist before it starts."""
    folder = paths.node(node.index)
    kubelet_kubeconfig = kubeconfig_file(paths, f"node{node.index}")
    kubelet: list[str | Path] = [
        binaries["kubelet"],
        f"--config={folder / 'kubelet.json'}",
        f"--kubeconfig={kubelet_kubeconfig}",
        # cAdvisor's own way to tell containers apart: without it, it knows pods alone. No setting does it.
        f"--containerd={socket(node)}",
        f"--hostname-override={node.name}",
        f"--node-ip={node.address}",
    ]
    proxy: list[str | Path] = [
        binaries["kube-proxy"],
        f"--kubeconfig={kubeconfig_file(paths, 'proxy')}",
        f"--hostname-override={node.name}",
        "--proxy-mode=iptables",
        f"--cluster-cidr={Plan(node.slot).pods}",
        f"--healthz-bind-address={node.address}:10256",
        f"--metrics-bind-address={node.address}:10249",
        # Connections are counted for the whole machine; its limits are not ours to change.
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
        "--iptables-localhost-nodeports=false",
    ]
    programs = [
        Program("containerd", [packages.find("usr/bin/containerd"), "--config", folder / "containerd.toml"]),
        Program("kubelet", kubelet, f"[ -S {socket(node)} ]"),
        Program("kube-proxy", proxy),
    ]
    return Unit(
        unit_name(node.index),
        paths.units,
        paths.logs,
        programs,
        prepare=_prepare(folder, node),
        network=network.namespace_file(node),
        own_mounts=True,
        path=tuple(packages.path),
    )


def _prepare(folder: Path, node: Node) -> list[str]:
    lines = [
        # Kubelet's mounts must reach the containers that it starts later.
        "mount --make-rshared /",
        "mount -t proc proc /proc",
        *(f"mount -t tmpfs -o mode=0755 tmpfs {point}" for point in _TEMPORARY),
        "mount --make-shared /run/netns",
    ]
    lines += [f"mount --bind '{folder}/{name}' {point}" for name, point in _KEPT.items()]
    # A socket of a containerd that was killed would let kubelet start too early.
    lines.append(f"rm -f {socket(node)}")
    return lines


def write_settings(
    node: Node, paths: ClusterPaths, packages: Packages, pause_image: str, *, egress: bool
) -> bool:
    """Write the node's configuration files; say whether one changed, so that its unit must start anew."""
    folder = paths.node(node.index)
    for name in _KEPT:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for point in MOUNT_POINTS:
        point.mkdir(parents=True, exist_ok=True)
    files = {
        folder / "containerd.toml": _containerd(node, folder, packages, pause_image),
        folder / "cni" / "net.d" / "10-berth.conflist": json.dumps(_cni(node), indent=2),
        folder / "kubelet.json": json.dumps(_kubelet(node, paths, folder), indent=2),
        folder / "resolv.conf": _resolv_conf(egress=egress),
    }
    changed = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    for path in changed:
        write_private(path, files[path].encode(), 0o644)
    return bool(changed)


def _containerd(node: Node, folder: Path, packages: Packages, pause_image: str) -> str:
    return f"""\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = {json.dumps(_UNUSED_PLUGINS)}
# Without it, it would go on serving, and the kubelet never meet a runtime; it ends instead, and begins anew.
required_plugins = ["io.containerd.grpc.v1.cri"]

[debug]
  # At `info` every probe by exec is a line.
  level = "warn"

[grpc]
  address = "{socket(node)}"

[plugins."io.containerd.grpc.v1.cri"]
  # Where CAP_SYS_RESOURCE is missing (a container, a small VM) runc cannot lower a process's score.
  restrict_oom_score_adj = true
  sandbox_image = "{pause_image}"

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{packages.find("usr/lib/cni")}"
    conf_dir = "{folder}/cni/net.d"

  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "{packages.find("usr/sbin/runc")}"
      SystemdCgroup = false
"""


def _cni(node: Node) -> dict[str, object]:
    """Pods on cables of their own instead of a bridge.

    A bridge passes packets between its pods below the firewall unless the module br_netfilter is loaded, and
    then a pod that calls a Service of its own node gets answers from an address it never asked.
    """
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": str(node.pods)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    return {
        "cniVersion": "0.4.0",
        "name": "berth",
        "plugins": [
            {"type": "ptp", "ipMasq": False, "ipam": ipam},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def _kubelet(node: Node, paths: ClusterPaths, folder: Path) -> dict[str, object]:
    pki = Pki(paths.pki)
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": str(node.address),
        "healthzBindAddress": "127.0.0.1",
        "containerRuntimeEndpoint": f"unix://{socket(node)}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{node.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki.certificate(CLUSTER))},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki.certificate(f"node{node.index}")),
        "tlsPrivateKeyFile": str(pki.key(f"node{node.index}")),
        "clusterDNS": [str(Plan(node.slot).dns_service)],
        "clusterDomain": "cluster.local",
        "resolvConf": str(folder / "resolv.conf"),
        "maxPods": 110,
        # What the control plane needs beside the pods: it runs on the same cores.
        "systemReserved": {"cpu": "200m", "memory": "512Mi"},
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "500Mi",
            "imagefs.available": "500Mi",
        },
        # Imported images come from nowhere: one that is collected is lost.
        "imageGCHighThresholdPercent": 100,
        "makeIPTablesUtilChains": False,
        "containerLogMaxSize": "10Mi",
        "containerLogMaxFiles": 3,
    }


def _resolv_conf(*, egress: bool) -> str:
    """What CoreDNS forwards to; without a way out, a name server is only a long wait."""
    if not egress:
        return "# This cluster has no way out of its machine.\n"
    # systemd-resolved's stub listens on a loopback address that no pod reaches.
    for file in (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf")):
        if file.exists():
            return file.read_text()
    return ""

"""What runs outside of any node: etcd, the API server, its controllers, the scheduler, the provisioner."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from .addresses import API_PORT, ETCD_CLIENT_PORT, ETCD_PEER_PORT, Plan
from .pki import CLUSTER, ETCD, FRONT_PROXY, FRONT_PROXY_CLIENT, Pki, write_private
from .units import Program, Unit

if TYPE_CHECKING:
    from pathlib import Path

    from .build import Binaries
    from .packages import Packages
    from .paths import ClusterPaths

UNIT = "control-plane"
CONTROLLER_MANAGER_PORT, SCHEDULER_PORT = 10257, 10259
_SCALE_TO_ZERO = "--feature-gates=HPAScaleToZero=true"
"""Alpha in Kubernetes 1.35. The API server then takes minReplicas 0, and the controller manager scales so."""


def unit(
    plan: Plan, paths: ClusterPaths, binaries: Binaries, packages: Packages, *, hpa_sync_seconds: float
) -> Unit:
    """The control plane's unit. The bridge must exist before it starts."""
    pki = Pki(paths.pki)
    api_port = f"port_open {plan.gateway} {API_PORT}"
    programs = [
        Program("etcd", _etcd(plan, paths, packages, pki)),
        Program(
            "kube-apiserver", _apiserver(plan, binaries, pki), f"port_open {plan.loopback} {ETCD_CLIENT_PORT}"
        ),
        Program(
            "kube-controller-manager",
            _controller_manager(plan, paths, binaries, pki, hpa_sync_seconds),
            api_port,
        ),
        Program("kube-scheduler", _scheduler(plan, paths, binaries, pki), api_port),
        Program(
            "berth-provisioner",
            [
                binaries["berth-provisioner"],
                f"--kubeconfig={kubeconfig_file(paths, 'provisioner')}",
                f"--root={paths.volumes}",
            ],
            api_port,
        ),
    ]
    return Unit(UNIT, paths.units, paths.logs, programs, path=tuple(packages.path))


def _etcd(plan: Plan, paths: ClusterPaths, packages: Packages, pki: Pki) -> list[str | Path]:
    client = f"https://{plan.loopback}:{ETCD_CLIENT_PORT}"
    peer = f"https://{plan.loopback}:{ETCD_PEER_PORT}"
    key, certificate, authority = pki.key("etcd"), pki.certificate("etcd"), pki.certificate(ETCD)
    return [
        packages.find("usr/bin/etcd"),
        "--name=berth",
        f"--data-dir={paths.etcd}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=berth={peer}",
        f"--cert-file={certificate}",
        f"--key-file={key}",
        f"--trusted-ca-file={authority}",
        "--client-cert-auth",
        f"--peer-cert-file={certificate}",
        f"--peer-key-file={key}",
        f"--peer-trusted-ca-file={authority}",
        "--peer-client-cert-auth",
        "--logger=zap",
    ]


def _apiserver(plan: Plan, binaries: Binaries, pki: Pki) -> list[str | Path]:
    return [
        binaries["kube-apiserver"],
        f"--etcd-servers=https://{plan.loopback}:{ETCD_CLIENT_PORT}",
        f"--etcd-cafile={pki.certificate(ETCD)}",
        f"--etcd-certfile={pki.certificate('apiserver-etcd-client')}",
        f"--etcd-keyfile={pki.key('apiserver-etcd-client')}",
        # Not loopback: the address becomes the endpoint of the Service `kubernetes`, which pods must reach.
        f"--bind-address={plan.gateway}",
        f"--secure-port={API_PORT}",
        f"--tls-cert-file={pki.certificate('apiserver')}",
        f"--tls-private-key-file={pki.key('apiserver')}",
        f"--client-ca-file={pki.certificate(CLUSTER)}",
        "--anonymous-auth=false",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--profiling=false",
        _SCALE_TO_ZERO,
        f"--service-cluster-ip-range={plan.services}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki.folder / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={pki.key('service-accounts')}",
        f"--kubelet-certificate-authority={pki.certificate(CLUSTER)}",
        f"--kubelet-client-certificate={pki.certificate('apiserver-kubelet-client')}",
        f"--kubelet-client-key={pki.key('apiserver-kubelet-client')}",
        "--kubelet-preferred-address-types=InternalIP",
        # Aggregated API servers are asked at their pods, which this machine reaches without kube-proxy.
        "--enable-aggregator-routing=true",
        f"--requestheader-client-ca-file={pki.certificate(FRONT_PROXY)}",
        f"--requestheader-allowed-names={FRONT_PROXY_CLIENT}",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={pki.certificate(FRONT_PROXY_CLIENT)}",
        f"--proxy-client-key-file={pki.key(FRONT_PROXY_CLIENT)}",
    ]


def _controller_manager(
    plan: Plan, paths: ClusterPaths, binaries: Binaries, pki: Pki, hpa_sync_seconds: float
) -> list[str | Path]:
    kubeconfig = kubeconfig_file(paths, "controller-manager")
    return [
        binaries["kube-controller-manager"],
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={plan.gateway}",
        f"--secure-port={CONTROLLER_MANAGER_PORT}",
        f"--tls-cert-file={pki.certificate('controller-manager')}",
        f"--tls-private-key-file={pki.key('controller-manager')}",
        "--profiling=false",
        _SCALE_TO_ZERO,
        # Nodes get their pods' addresses from our own plan, when they are made.
        "--allocate-node-cidrs=false",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--root-ca-file={pki.certificate(CLUSTER)}",
        f"--service-account-private-key-file={pki.key('service-accounts')}",
        f"--cluster-signing-cert-file={pki.certificate(CLUSTER)}",
        f"--cluster-signing-key-file={pki.key(CLUSTER)}",
        f"--horizontal-pod-autoscaler-sync-period={hpa_sync_seconds:g}s",
    ]


def _scheduler(plan: Plan, paths: ClusterPaths, binaries: Binaries, pki: Pki) -> list[str | Path]:
    kubeconfig = kubeconfig_file(paths, "scheduler")
    return [
        binaries["kube-scheduler"],
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={plan.gateway}",
        f"--secure-port={SCHEDULER_PORT}",
        f"--tls-cert-file={pki.certificate('scheduler')}",
        f"--tls-private-key-file={pki.key('scheduler')}",
        "--profiling=false",
        "--leader-elect=false",
    ]


def kubeconfig_file(paths: ClusterPaths, user: str) -> Path:
    """The kubeconfig of one part of the cluster itself."""
    return paths.pki / f"{user}.kubeconfig"


def write_kubeconfig(path: Path, plan: Plan, pki: Pki, user: str, cluster: str) -> None:
    """Write a kubeconfig (mode 0600) for the certificate called ``user``, everything inside it."""

    def inline(file: Path) -> str:
        return base64.b64encode(file.read_bytes()).decode()

    context = f"berth-{cluster}"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": context,
                "cluster": {
                    "server": plan.server,
                    "certificate-authority-data": inline(pki.certificate(CLUSTER)),
                },
            }
        ],
        "users": [
            {
                "name": f"{context}-{user}",
                "user": {
                    "client-certificate-data": inline(pki.certificate(user)),
                    "client-key-data": inline(pki.key(user)),
                },
            }
        ],
        "contexts": [{"name": context, "context": {"cluster": context, "user": f"{context}-{user}"}}],
        "current-context": context,
    }
    text = json.dumps(content, indent=2) + "\n"  # JSON is YAML
    if not path.exists() or path.read_text() != text:
        write_private(path, text.encode())

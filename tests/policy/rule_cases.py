"""Ways to break one rule of Kubernetes: what is changed in the good program, programs/raw.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "programs"))
import raw  # type: ignore[import-not-found]

GONE = object()
POD = ("web", "spec", "template", "spec")
FIRST = (*POD, "containers", 0)
CONTEXT = (*FIRST, "securityContext")
Path_ = tuple[str | int, ...]
INIT = {**raw.container("init"), "restartPolicy": "Always"}
EPHEMERAL = {"name": "debug", "image": raw.IMAGE, "securityContext": {"privileged": True}}
ROLE = "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole"
BINDING = "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding"


def _delayed(seconds: int) -> dict[str, Any]:
    """A container with no probe of its start, whose liveness is asked for after so long."""
    one = raw.container()
    del one["startupProbe"]
    one["livenessProbe"]["initialDelaySeconds"] = seconds
    return one


def role(**rule: Any) -> tuple[str, dict[str, Any]]:
    return ROLE, {"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], **rule}]}


def binding(role: str, **subject: Any) -> tuple[str, dict[str, Any]]:
    return BINDING, {
        "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }


def _policy(labels: dict[str, str], selector: dict[str, str], **ways: Any) -> tuple[str, dict[str, Any]]:
    spec = {"podSelector": {"matchLabels": selector}, "policyTypes": ["Ingress", "Egress"], **ways}
    return "kubernetes:networking.k8s.io/v1:NetworkPolicy", {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "more", "namespace": "shop", "labels": labels},
        "spec": spec,
    }


WEB = [{"ports": [{"port": 443}], "to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}]}]
PORT = [{"port": 443}]
ROUTER_TIMES = ("BERTH_ROUTER_PRE_STOP_SECONDS", "BERTH_ROUTER_DRAIN_SECONDS")
SHOP = [
    {
        "ports": PORT,
        "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": raw.SPACE}}}],
    }
]
EVERYBODY = [{"ports": [{"port": 443}], "to": [{"namespaceSelector": {}}]}]
MORE: list[tuple[str, Path_, Any]] = [
    ("objects-own-namespace", ("more",), ("kubernetes:core/v1:ConfigMap", {"metadata": {"name": "c"}})),
    (
        "objects-own-namespace",
        ("more",),
        ("kubernetes:core/v1:ConfigMap", {"metadata": {"name": "c", "namespace": "default"}}),
    ),
    ("providers-explicit", ("more",), ("pulumi:providers:kubernetes", {})),
    ("providers-explicit", ("more",), ("pulumi:providers:aws", {"region": ""})),
    (
        "selectors-own",
        ("more",),
        _policy({"app.kubernetes.io/instance": "a"}, {"app.kubernetes.io/instance": "b"}, egress=WEB),
    ),
    ("network-model-egress", ("more",), _policy({"app.kubernetes.io/name": "model-server"}, {}, egress=WEB)),
    ("network-peers-named", ("more",), _policy({}, {"a": "b"}, egress=EVERYBODY)),
    (
        "engines-silent",
        ("more",),
        (
            "kubernetes:core/v1:ConfigMap",
            {"metadata": {"name": "c", "namespace": "shop"}, "data": {"VLLM_A": "1"}},
        ),
    ),
    ("pods-mounts-read-only", (*POD, "volumes", 0), {"name": "tmp", "configMap": {"name": "c"}}),
    ("network-peers-programs", ("more",), _policy({}, raw.SELECTOR, ingress=SHOP)),
    ("network-peers-programs", ("more",), _policy({}, raw.SELECTOR, egress=[{"ports": PORT, "to": [{}]}])),
    (
        "network-policies-both-directions",
        ("allow", "spec"),
        {"podSelector": {"matchLabels": raw.SELECTOR}, "policyTypes": ["Egress"], "egress": WEB},
    ),
    (
        "network-open-ingress",
        ("more",),
        (
            "kubernetes:networking.k8s.io/v1:NetworkPolicy",
            {
                "metadata": {**raw.metadata("more"), "annotations": {"berth.dev/public-reason": "a shop"}},
                "spec": {
                    "podSelector": {"matchLabels": raw.SELECTOR},
                    "policyTypes": ["Ingress", "Egress"],
                    "ingress": [
                        {"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": PORT},
                        {"ports": PORT},
                    ],
                },
            },
        ),
    ),
    ("pods-drain", (*FIRST, "env"), [{"name": name, "value": "30"} for name in ROUTER_TIMES]),
    ("pods-tolerations", (*POD, "tolerations"), [{"operator": "Exists"}]),
    ("pods-root-group", (*POD, "securityContext", "runAsUser"), 65532),
    ("services-client-addresses", ("service", "spec", "type"), "LoadBalancer"),
    ("grafana-closed", (*FIRST, "env"), [{"name": "GF_AUTH_ANONYMOUS_ENABLED", "value": "true"}]),
]
BAD: list[tuple[str, Path_, Any]] = [
    ("pods-host-namespaces", (*POD, "hostPID"), True),
    ("pods-host-namespaces", (*POD, "hostIPC"), True),
    ("pods-privileged", (*CONTEXT, "privileged"), True),
    ("pods-privilege-escalation", (*CONTEXT, "allowPrivilegeEscalation"), GONE),
    ("pods-privilege-escalation", (*CONTEXT, "allowPrivilegeEscalation"), True),
    ("pods-capabilities", (*CONTEXT, "capabilities"), GONE),
    ("pods-capabilities", (*CONTEXT, "capabilities", "drop"), ["NET_RAW"]),
    ("pods-capabilities", (*CONTEXT, "capabilities", "add"), ["SYS_TIME"]),
    ("pods-host-path", (*POD, "volumes", 0, "hostPath"), {"path": "/srv"}),
    ("pods-volume-types", (*POD, "volumes", 0, "gcePersistentDisk"), {"pdName": "a"}),
    ("pods-host-ports", (*FIRST, "ports", 0, "hostPort"), 80),
    ("pods-probe-hosts", (*FIRST, "livenessProbe", "httpGet", "host"), "10.0.0.1"),
    ("pods-app-armor", (*CONTEXT, "appArmorProfile"), {"type": "Unconfined"}),
    (
        "pods-app-armor",
        (*POD[:-1], "metadata", "annotations"),
        {"container.apparmor.security.beta.kubernetes.io/web": "unconfined"},
    ),
    ("pods-selinux", (*POD, "securityContext", "seLinuxOptions"), {"type": "spc_t"}),
    ("pods-selinux", (*CONTEXT, "seLinuxOptions"), {"user": "system_u"}),
    ("pods-proc-mount", (*CONTEXT, "procMount"), "Unmasked"),
    ("pods-seccomp", (*POD, "securityContext", "seccompProfile"), GONE),
    ("pods-seccomp", (*CONTEXT, "seccompProfile"), {"type": "Unconfined"}),
    ("pods-sysctls", (*POD, "securityContext", "sysctls"), [{"name": "kernel.sem", "value": "1"}]),
    ("pods-host-process", (*CONTEXT, "windowsOptions"), {"hostProcess": True}),
    ("pods-run-as-non-root", (*POD, "securityContext", "runAsNonRoot"), GONE),
    ("pods-run-as-non-root", (*CONTEXT, "runAsNonRoot"), False),
    ("pods-run-as-user", (*POD, "securityContext", "runAsUser"), 0),
    ("pods-read-only-root", (*CONTEXT, "readOnlyRootFilesystem"), False),
    ("pods-resources", (*FIRST, "resources", "limits"), GONE),
    ("pods-resources", (*FIRST, "resources", "requests", "cpu"), GONE),
    ("pods-resources", (*FIRST, "resources", "requests"), GONE),
    ("pods-limits-hold", (*FIRST, "resources", "requests", "memory"), "1Gi"),
    ("pods-scratch-limits", (*POD, "volumes", 0, "emptyDir"), {}),
    ("pods-scratch-limits", (*POD, "volumes", 0, "emptyDir"), GONE),
    ("pods-termination", (*POD, "terminationGracePeriodSeconds"), 6),
    ("pods-service-links", (*POD, "enableServiceLinks"), GONE),
    ("pods-liveness", (*FIRST, "livenessProbe"), GONE),
    ("pods-liveness", (*FIRST, "startupProbe"), GONE),
    *(("pods-liveness", FIRST, _delayed(seconds)) for seconds in (29, 61)),
    ("pods-liveness", (*FIRST, "livenessProbe", "periodSeconds"), 60),
    ("pods-readiness", (*FIRST, "readinessProbe"), GONE),
    ("pods-readiness", (*FIRST, "readinessProbe", "failureThreshold"), 100),
    ("pods-drain", (*FIRST, "env"), [{"name": "BERTH_DRAIN_SECONDS", "value": "31"}]),
    # It has a hook of its own, which waits for nobody.
    (
        "pods-drain",
        (*POD, "containers"),
        [
            {**raw.container(), "env": [{"name": "BERTH_DRAIN_SECONDS", "value": "10"}]},
            raw.container("engine"),
        ],
    ),
    ("pods-spread", (*POD, "topologySpreadConstraints"), GONE),
    ("workloads-rollout", ("web", "spec", "strategy"), {"type": "Recreate"}),
    ("workloads-rollout", ("web", "spec", "strategy"), {"rollingUpdate": {"maxUnavailable": "100%"}}),
    ("disruption-budgets", ("budget",), GONE),
    ("disruption-budgets", ("budget", "spec", "maxUnavailable"), 0),
    ("disruption-budgets", ("budget", "spec", "maxUnavailable"), "0%"),
    ("disruption-budgets", ("budget", "spec", "maxUnavailable"), "100%"),
    ("disruption-budgets", ("budget", "spec", "unhealthyPodEvictionPolicy"), GONE),
    ("disruption-budgets", ("budget", "spec", "maxUnavailable"), GONE),
    ("autoscaler-owns-replicas", ("web", "spec", "replicas"), 2),
    ("autoscaler-owns-replicas", ("scaler", "spec", "maxReplicas"), 1),
    ("production-replicas", ("scaler", "spec", "minReplicas"), GONE),
    ("namespaces-restricted", ("space", "metadata", "labels"), GONE),
    ("network-default-deny", ("deny",), GONE),
    ("network-default-deny", ("deny", "spec", "policyTypes"), ["Ingress"]),
    ("network-default-deny", ("deny", "spec", "podSelector"), {"matchLabels": raw.SELECTOR}),
    ("network-metadata", ("allow", "spec", "egress", 0, "to"), []),
    ("network-metadata", ("allow", "spec", "egress", 0, "to", 0, "ipBlock", "except"), ["10.0.0.0/8"]),
    ("network-metadata", ("allow", "spec", "egress", 0, "to", 0, "ipBlock"), {"cidr": "::/0"}),
    ("network-metadata", ("allow", "spec", "egress", 0, "to", 0, "ipBlock"), {"cidr": "169.254.169.254/32"}),
    ("network-open-ingress", ("allow", "spec", "ingress", 0, "from"), GONE),
    ("network-open-ingress", ("allow", "spec", "ingress", 0, "from", 0, "ipBlock", "cidr"), "::/0"),
    ("network-open-ingress", ("allow", "spec", "ingress", 0, "from", 0), {"namespaceSelector": {}}),
    ("network-policies-effective", ("allow", "spec", "policyTypes"), ["Ingress"]),
    ("services-reach-pods", ("service", "spec", "ports", 0, "targetPort"), "https"),
    ("services-node-ports", ("service", "spec", "type"), "NodePort"),
    ("services-not-public", ("service", "spec", "externalIPs"), ["203.0.113.1"]),
    ("service-accounts-own", (*POD, "serviceAccountName"), "another"),
    ("service-account-tokens", (*POD, "automountServiceAccountToken"), True),
    ("service-account-tokens", ("account", "automountServiceAccountToken"), GONE),
    ("rbac-wildcards", ("role",), role(resources=["pods"], verbs=["*"])),
    ("rbac-wildcards", ("role",), role(resources=["pods/*"], verbs=["get"])),
    ("rbac-escalation", ("role",), role(resources=["secrets"], verbs=["list"])),
    ("rbac-escalation", ("role",), role(resources=["pods/exec"], verbs=["create"])),
    ("rbac-escalation", ("role",), role(resources=["users"], verbs=["impersonate"])),
    (
        "rbac-admin",
        ("binding",),
        binding("cluster-admin", kind="User", name="me"),
    ),
    ("rbac-admin", ("binding",), binding("view", kind="Group", name="system:authenticated")),
    ("rbac-admin", ("binding",), binding("view", kind="ServiceAccount", name="default", namespace="shop")),
    ("secrets-not-in-clear", (*FIRST, "env"), [{"name": "API_KEY", "value": "0123456789"}]),
    ("secrets-not-in-clear", (*FIRST, "args"), ["--api-key", "0123456789"]),
    ("secrets-not-in-clear", (*FIRST, "args"), ["--api-key=0123456789"]),
    ("images-version", (*FIRST, "image"), GONE),
    ("images-digest", (*FIRST, "image"), "registry.example/web:1"),
    ("images-digest", (*FIRST, "image"), "registry.example:5000/web:1@sha256:short"),
    ("models-remote-code", (*FIRST, "args"), ["--trust-remote-code"]),
    ("models-remote-code", (*FIRST, "env"), [{"name": "TRUST_REMOTE_CODE", "value": "true"}]),
    ("models-format", (*FIRST, "args"), ["--model", "/models/pytorch_model.bin"]),
    ("models-checked", (*FIRST, "env"), [{"name": "BERTH_WEIGHTS_SOURCE", "value": "packaged:a"}]),
    ("models-revision", (*FIRST, "env"), [{"name": "BERTH_MODEL_REVISION", "value": "main"}]),
    ("gateways-need-keys", (*FIRST, "env"), [{"name": "BERTH_ALLOW_ANONYMOUS", "value": "true"}]),
    ("accelerators-requested", (*FIRST, "image"), f"docker.io/vllm/vllm-openai@{raw.DIGEST}"),
    ("accelerators-placement", (*FIRST, "resources", "limits", "nvidia.com/gpu"), 1),
    ("pods-probes-ask", (*FIRST, "livenessProbe", "httpGet", "port"), "https"),
    ("pods-probes-ask", (*FIRST, "livenessProbe", "failureThreshold"), 1),
    ("pods-probes-ask", (*FIRST, "startupProbe", "failureThreshold"), 3),
    ("pods-probes-ask", (*FIRST, "startupProbe", "httpGet"), GONE),
    ("pods-probes-ask", (*FIRST, "readinessProbe", "timeoutSeconds"), 60),
    ("pods-root-group", (*POD, "securityContext", "fsGroup"), 0),
    ("pods-root-group", (*CONTEXT, "runAsGroup"), 0),
    ("pods-secret-files", (*POD, "volumes"), [{"name": "tmp", "secret": {"secretName": "a"}}]),
    ("pods-spread", (*POD, "topologySpreadConstraints", 0, "maxSkew"), 10),
    ("network-ports", ("allow", "spec", "ingress", 0, "ports"), GONE),
    ("network-ports", ("allow", "spec", "egress", 0, "ports"), [{"protocol": "TCP"}]),
    ("network-open-ingress", ("allow", "spec", "podSelector"), {}),
    ("engines-contained", (*FIRST, "env"), [{"name": "BERTH_ENGINE_URL", "value": "http://engine:80"}]),
    ("charts-unseen", ("chart",), ("kubernetes:helm.sh/v3:Release", {"chart": "any"})),
    *MORE,
]
BESIDE = {  # what a case breaks besides its rule, and rightly
    "images-version": {"images-digest"},
    "rbac-admin": {"service-account-tokens"},
    "accelerators-requested": {"models-revision"},
    "network-open-ingress": {"network-metadata", "network-peers-named"},
    "network-policies-effective": {"network-policies-both-directions"},
    "selectors-own": {"network-policies-effective"},
    "pods-secret-files": {"pods-mounts-read-only"},
    "network-peers-named": {"network-policies-effective"},
    "pods-volume-types": {"pods-scratch-limits"},
    "services-node-ports": {"network-tls", "services-client-addresses"},
    "engines-contained": {"models-revision"},
    "services-client-addresses": {"services-not-public", "network-tls"},
}

"""Bad programs: what each one does, and exactly the rules that it breaks."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from raw import Objects


@dataclass(frozen=True)
class Bad:
    """A bad program.

    Attributes:
        make: its objects.
        breaks: exactly the rules that it breaks.
    """

    make: Callable[[], Objects]
    breaks: frozenset[str]


BAD: dict[str, Bad] = {}


def bad(*breaks: str) -> Callable[[Callable[[Objects], object]], Callable[[Objects], object]]:
    """Register a way to spoil the good program, by the function's name."""

    def register(spoil: Callable[[Objects], object]) -> Callable[[Objects], object]:
        BAD[getattr(spoil, "__name__", "")] = Bad(lambda: raw.spoiled(spoil), frozenset(breaks))
        return spoil

    return register


def _account(name: str) -> tuple[str, dict[str, Any]]:
    return (
        "kubernetes:core/v1:ServiceAccount",
        {"metadata": raw.metadata(name), "automountServiceAccountToken": False},
    )


@bad("pods-privileged", "pods-privilege-escalation")
def privileged_init_container_of_a_job(objects: Objects) -> None:
    """A Job is finished soon, and its init container was root on the node."""
    spec = raw.pod_spec()
    spec["serviceAccountName"] = "migrate"
    spec["restartPolicy"] = "Never"
    init = raw.container("prepare")
    init["securityContext"] |= {"privileged": True, "allowPrivilegeEscalation": True}
    spec["initContainers"] = [init]
    labels = {"app.kubernetes.io/name": "migrate"}
    template = {"metadata": {"labels": labels}, "spec": spec}
    objects["account-2"] = _account("migrate")
    objects["job"] = (
        "kubernetes:batch/v1:Job",
        {"metadata": raw.metadata("migrate"), "spec": {"template": template}},
    )


@bad("pods-liveness", "pods-readiness")
def deployment_without_probes(objects: Objects) -> None:
    """Nobody notices when it hangs, and it gets requests before it listens."""
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        del raw.first(objects)[probe]


@bad("pods-host-path")
def docker_socket(objects: Objects) -> None:
    """The runtime's socket is the node."""
    raw.spec_of(objects)["volumes"].append({"name": "sock", "hostPath": {"path": "/run/containerd"}})


@bad("pods-host-namespaces", "pods-host-ports")
def host_network(objects: Objects) -> None:
    """It listens on the node itself, past every network policy."""
    raw.spec_of(objects)["hostNetwork"] = True
    raw.first(objects)["ports"][0]["hostPort"] = 8080


@bad("pods-run-as-non-root", "pods-run-as-user")
def root_in_a_container(objects: Objects) -> None:
    """The pod says one thing and its container another."""
    raw.first(objects)["securityContext"] |= {"runAsNonRoot": False, "runAsUser": 0}


@bad("pods-capabilities", "pods-seccomp", "pods-read-only-root")
def a_network_tool(objects: Objects) -> None:
    """It forges packets, and is filtered by nothing."""
    raw.first(objects)["securityContext"]["capabilities"] = {"drop": ["ALL"], "add": ["NET_RAW", "SYS_ADMIN"]}
    raw.spec_of(objects)["securityContext"]["seccompProfile"]["type"] = "Unconfined"
    del raw.first(objects)["securityContext"]["readOnlyRootFilesystem"]


@bad("images-version", "images-digest")
def latest(objects: Objects) -> None:
    """Whatever is newest."""
    raw.first(objects)["image"] = "registry.example/shop/web"


@bad("pods-resources", "pods-scratch-limits")
def takes_what_it_wants(objects: Objects) -> None:
    """No request, no limit, and a scratch volume in memory without an end."""
    del raw.first(objects)["resources"]
    raw.spec_of(objects)["volumes"][0]["emptyDir"] = {"medium": "Memory"}


@bad("autoscaler-owns-replicas")
def two_hands_on_replicas(objects: Objects) -> None:
    """Each deployment sets the number back."""
    objects["web"][1]["spec"]["replicas"] = 3


@bad("production-replicas", "disruption-budgets")
def one_replica_that_cannot_move(objects: Objects) -> None:
    """Its budget forbids every eviction."""
    objects["scaler"][1]["spec"]["minReplicas"] = 1
    budget = objects["budget"][1]["spec"]
    del budget["maxUnavailable"]
    budget["minAvailable"] = 1


@bad("pods-termination", "workloads-rollout")
def killed_while_it_serves(objects: Objects) -> None:
    """Its preStop hook takes longer than it has, and all pods go at once."""
    raw.first(objects)["lifecycle"]["preStop"]["sleep"]["seconds"] = 60
    objects["web"][1]["spec"]["strategy"] = {"type": "Recreate"}


@bad("pods-drain")
def drains_longer_than_it_lives(objects: Objects) -> None:
    """Its drain is in a ConfigMap, its grace period in the Deployment."""
    objects["config"] = (
        "kubernetes:core/v1:ConfigMap",
        {"metadata": raw.metadata("web"), "data": {"BERTH_DRAIN_SECONDS": "60"}},
    )
    raw.first(objects)["envFrom"] = [{"configMapRef": {"name": "web"}}]


@bad("pods-spread")
def all_on_one_node(objects: Objects) -> None:
    """Its constraint selects pods that do not exist."""
    constraint = raw.spec_of(objects)["topologySpreadConstraints"][0]
    constraint["labelSelector"]["matchLabels"] = {"app": "webb"}


@bad("network-default-deny", "network-metadata", "network-ports")
def goes_anywhere(objects: Objects) -> None:
    """No default, and a rule that allows everything, the metadata server too."""
    del objects["deny"]
    objects["allow"][1]["spec"]["egress"] = [{}]


@bad("network-open-ingress")
def everybody_may_enter(objects: Objects) -> None:
    """Half of the internet, twice."""
    objects["allow"][1]["spec"]["ingress"][0]["from"] = [
        {"ipBlock": {"cidr": "0.0.0.0/1"}},
        {"ipBlock": {"cidr": "128.0.0.0/1"}},
    ]


@bad("services-not-public", "network-tls", "services-client-addresses")
def public_and_plain(objects: Objects) -> None:
    """A load balancer, as the cloud makes it by default."""
    objects["service"][1]["spec"]["type"] = "LoadBalancer"


@bad("services-node-ports", "network-tls", "services-client-addresses")
def door_on_every_node(objects: Objects) -> None:
    """A port of all nodes, and an Ingress without a certificate."""
    objects["service"][1]["spec"]["type"] = "NodePort"
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    objects["ingress"] = (
        "kubernetes:networking.k8s.io/v1:Ingress",
        {"metadata": raw.metadata("web"), "spec": {"defaultBackend": backend}},
    )


@bad("services-reach-pods", "network-policies-effective", "disruption-budgets")
def labels_that_match_nothing(objects: Objects) -> None:
    """A word is misspelt in three objects; only the Service's clients notice."""
    wrong = {"app.kubernetes.io/name": "wbe"}
    objects["service"][1]["spec"]["selector"] = wrong
    for name in ("allow", "budget"):
        key = "podSelector" if name == "allow" else "selector"
        objects[name][1]["spec"][key] = {"matchLabels": wrong}


@bad("rbac-wildcards", "rbac-admin", "service-accounts-own", "service-account-tokens")
def an_operator_that_may_do_anything(objects: Objects) -> None:
    """Everything, to the account that every pod of the namespace has."""
    spec = raw.spec_of(objects)
    del spec["serviceAccountName"]
    spec["automountServiceAccountToken"] = True
    del objects["account"]
    rule = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    objects["role"] = (
        "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole",
        {"metadata": {"name": "web"}, "rules": [rule]},
    )
    objects["binding"] = (
        "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding",
        {
            "metadata": {"name": "web"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "web"},
            "subjects": [{"kind": "Group", "name": "system:serviceaccounts:shop"}],
        },
    )


@bad("rbac-escalation", "secrets-not-in-clear")
def reads_all_secrets_and_has_one_in_clear(objects: Objects) -> None:
    """A role over every Secret, and a hub's token in the Deployment."""
    raw.first(objects)["env"] = [{"name": "HF_TOKEN", "value": "not-a-real-token"}]
    rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}
    objects["role"] = (
        "kubernetes:rbac.authorization.k8s.io/v1:Role",
        {"metadata": raw.metadata("web"), "rules": [rule]},
    )


@bad("namespaces-restricted")
def namespace_that_admits_everything(objects: Objects) -> None:
    """Privileged, and no reason."""
    objects["space"][1]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = "privileged"


def _engine(objects: Objects, *args: str) -> dict[str, Any]:
    """The container as an engine on a GPU."""
    engine = raw.first(objects)
    engine["image"] = f"docker.io/vllm/vllm-openai@{raw.DIGEST}"
    engine["command"] = ["vllm", "serve", "Qwen/Qwen2.5-7B-Instruct"]
    engine["args"] = list(args)
    engine["resources"]["limits"]["nvidia.com/gpu"] = "1"
    raw.spec_of(objects)["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    return engine


@bad("models-revision", "models-remote-code", "models-format")
def runs_what_the_hub_says(objects: Objects) -> None:
    """Whatever is on main today, its code too, as a pickle."""
    _engine(objects, "--trust-remote-code", "--load-format", "pt")


@bad("accelerators-requested", "models-licence")
def engine_without_a_gpu(objects: Objects) -> None:
    """It asks for no GPU, and serves a model that nobody has read the licence of."""
    engine = _engine(objects, "--revision", "a" * 40)
    engine["command"][2] = "nobody/unheard-of-7b"
    del engine["resources"]["limits"]["nvidia.com/gpu"]


@bad("accelerators-placement", "accelerators-tainted", "accelerators-scale-from-zero", "open-price")
def pool_that_no_pod_reaches(objects: Objects) -> None:
    """A pool without a taint and a limit, and a pod that selects another one."""
    _engine(objects, "--revision", "a" * 40)
    raw.spec_of(objects)["nodeSelector"] = {"pool": "gpu"}
    objects["pool"] = (
        "gcp:container/nodePool:NodePool",
        {
            "cluster": "fixture",
            "location": "europe-west4-a",
            "management": {"autoRepair": True, "autoUpgrade": True},
            "networkConfig": {"enablePrivateNodes": True},
            "nodeConfig": {
                "machineType": "g2-standard-8",
                "labels": {"pool": "other"},
                "imageType": "COS_CONTAINERD",
                "bootDiskKmsKey": "projects/fixture/locations/europe-west4/keyRings/a/cryptoKeys/b",
                "kubeletConfig": {"insecureKubeletReadonlyPortEnabled": "FALSE"},
                "metadata": {"disable-legacy-endpoints": "true"},
                "serviceAccount": "nodes@fixture.iam.gserviceaccount.com",
                "shieldedInstanceConfig": {"enableIntegrityMonitoring": True, "enableSecureBoot": True},
                "workloadMetadataConfig": {"mode": "GKE_METADATA"},
            },
            "nodeCount": 1,
            "nodeDrainConfigs": [{"respectPdbDuringNodePoolDeletion": True}],
            "upgradeSettings": {"maxSurge": 1, "maxUnavailable": 0, "strategy": "SURGE"},
        },
    )


@bad("pods-privileged", "pods-host-namespaces")
def custom_resource_with_a_pod_in_it(objects: Objects) -> None:
    """A kind that nobody here knows makes pods as well."""
    spec = raw.pod_spec()
    spec["serviceAccountName"] = "rollout"
    spec["hostPID"] = True
    spec["containers"][0]["securityContext"]["privileged"] = True
    objects["account-2"] = _account("rollout")
    objects["rollout"] = (
        "kubernetes:argoproj.io/v1alpha1:Rollout",
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "metadata": raw.metadata("rollout"),
            "spec": {"template": {"metadata": {"labels": {"app": "rollout"}}, "spec": copy.deepcopy(spec)}},
        },
    )


@bad("pods-service-links", "pods-app-armor", "pods-sysctls", "pods-volume-types", "pods-proc-mount")
def small_doors(objects: Objects) -> None:
    """What is overlooked most often."""
    spec = raw.spec_of(objects)
    del spec["enableServiceLinks"]
    spec["securityContext"]["sysctls"] = [{"name": "kernel.msgmax", "value": "65536"}]
    spec["volumes"].append({"name": "share", "nfs": {"server": "files.example", "path": "/"}})
    raw.first(objects)["securityContext"] |= {
        "procMount": "Unmasked",
        "appArmorProfile": {"type": "Unconfined"},
    }


@bad("network-open-ingress", "network-peers-named")
def every_pod_of_the_cluster_may_enter(objects: Objects) -> None:
    """An empty selector selects all."""
    objects["allow"][1]["spec"]["ingress"][0]["from"] = [{"namespaceSelector": {}}]

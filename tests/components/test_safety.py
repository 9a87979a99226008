"""What holds for every object: Pod Security "restricted", names, networks, nothing of the host."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pulumi
import pytest
from berth_components import (
    Autoscaler,
    ExistingCluster,
    HybridController,
    MetricsAdapter,
    ModelServer,
    RestrictedNamespace,
    Router,
    SiteReporter,
)

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]
# Volume types that Pod Security "restricted" allows.
VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
CLUSTER_WIDE = {"Namespace", "ClusterRole", "ClusterRoleBinding", "APIService"}
STORAGE: list[Json] = [
    {},
    {"weights.storage": "empty-dir"},
    {"weights.storage": "new-claim"},
    {"weights.storage": "claim", "weights.claim_name": "models"},
]


@pytest.fixture(params=STORAGE, ids=["ephemeral", "empty-dir", "new-claim", "claim"])
def everything(
    render: Callable[..., Any], base_args: Callable[[Json], Json], request: pytest.FixtureRequest
) -> Any:
    def program() -> None:
        cluster = ExistingCluster("own", {"kubeconfig": "apiVersion: v1\nkind: Config\n", "context": "c"})
        opts = pulumi.ResourceOptions(providers={"kubernetes": cluster.provider})
        room = RestrictedNamespace("room", {}, opts)
        args = base_args({**request.param, "replicas": None, "autoscaled": True, "namespace": room.namespace})
        server = ModelServer("chat", args, opts)  # type: ignore[arg-type] # built up by the test
        Autoscaler(
            "chat-scaling",
            {
                "namespace": server.namespace,
                "deployment": server.deployment,
                "server": server.name,
                "max_replicas": 3,
            },
            opts,
        )
        MetricsAdapter("adapter", {"image": "registry.example/adapter:1"}, opts)
        Router(
            "front",
            {
                "namespace": room.namespace,
                "image": "registry.example/router:1",
                "envoy_image": "registry.example/envoy:1",
                "variants": {"main": {"backends": [{"service": server.name}]}},
                "routes": [{"name": "all", "weights": {"main": 100}}],
                "access": {"client_cidrs": ["10.0.0.0/8"]},
            },
            opts,
        )
        token = "canary-" * 6
        common = {"namespace": room.namespace, "image": "registry.example/router:1", "token": token}
        models = {"chat": {"service": server.name, "selector": server.selector}}
        SiteReporter(
            "front",
            {**common, "site": "home", "models": models, "access": {"controllers": ["front"]}},  # type: ignore[typeddict-item] # built up
            opts,
        )
        HybridController(
            "front-hybrid",
            {  # type: ignore[typeddict-item] # built up
                **common,
                "router": "front",
                "model": "chat",
                "sites": [{"name": "home", "most_replicas": 3, "reporter": "front"}],
                "policy": {"cost_cap_per_hour": 1},
            },
            opts,
        )

    return render(program)


def test_every_pod_is_restricted(everything: Any) -> None:
    assert len(everything.pods) == 5
    for pod in everything.pods:
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (65532, 65532, 65532)
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "hostUsers", "nodeName", "hostAliases"}
        assert pod["enableServiceLinks"] is False
        for volume in pod["volumes"]:
            assert len(volume.keys() - {"name"}) == 1
            assert volume.keys() - {"name"} <= VOLUMES
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "hostPort" not in str(container)
            assert container["imagePullPolicy"] == "IfNotPresent"
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}


def test_only_who_asks_the_api_server_gets_a_token(everything: Any) -> None:
    tokens = {pod["serviceAccountName"]: pod["automountServiceAccountToken"] for pod in everything.pods}
    asking = ("berth-metrics-adapter", "front", "front-report", "front-hybrid")
    assert tokens == {"chat": False, **dict.fromkeys(asking, True)}
    accounts = [o for o in everything.objects if o["kind"] == "ServiceAccount"]
    assert [account["automountServiceAccountToken"] for account in accounts] == [False] * 5


def test_nothing_of_the_host(everything: Any) -> None:
    assert "hostPath" not in str(everything.objects)


def test_every_object_says_its_name_and_namespace(everything: Any) -> None:
    for found in everything.objects:
        metadata = found["metadata"]
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", metadata["name"])
        assert ("namespace" in metadata) == (found["kind"] not in CLUSTER_WIDE)
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "berth"
        assert found["apiVersion"]


def test_every_object_uses_the_given_cluster(everything: Any) -> None:
    used = {r.provider for r in everything.resources if r.typ.startswith("kubernetes:")}
    assert len(used) == 1
    assert "own-provider" in used.pop()


def test_namespaces_admit_restricted_pods_and_no_packet(everything: Any) -> None:
    names = {o["metadata"]["name"] for o in everything.objects if o["kind"] == "Namespace"}
    assert names == {"room", "berth-metrics"}
    for found in everything.objects:
        if found["kind"] == "Namespace":
            for mode in ("enforce", "audit", "warn"):
                assert found["metadata"]["labels"][f"pod-security.kubernetes.io/{mode}"] == "restricted"
    closed = {
        o["metadata"]["namespace"]
        for o in everything.objects
        if o["kind"] == "NetworkPolicy"
        and o["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    }
    assert closed == names


def test_a_kubeconfigs_contents_are_secret_and_its_path_is_not(render: Callable[..., Any]) -> None:
    def provider(kubeconfig: str) -> Json:
        rendered = render(lambda: ExistingCluster("own", {"kubeconfig": kubeconfig}))
        inputs: Json = next(r.inputs for r in rendered.resources if r.typ == "pulumi:providers:kubernetes")
        return inputs

    assert provider("/home/me/.kube/config")["kubeconfig"] == "/home/me/.kube/config"
    hidden = provider("apiVersion: v1\nkind: Config\n")["kubeconfig"]
    assert hidden["4dabf18193072939515e22adb298388d"] == "1b47061264138c4ac30d75fd1eb44270"
    # In place: a replaced Secret would take the keys away from running model servers for a moment.
    assert (
        provider("config").items()
        >= {"enableConfigMapMutable": "true", "enableSecretMutable": "true"}.items()
    )


def test_no_component_registers_a_resource(
    render: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pulumi up --plan` takes the id that a resource has by then for a change of the saved plan."""
    registered: dict[str, Json] = {}

    def register(self: pulumi.ComponentResource, outputs: Json) -> None:
        registered[type(self).__name__] = outputs

    monkeypatch.setattr(pulumi.ComponentResource, "register_outputs", register)
    render(lambda: ExistingCluster("own", {"kubeconfig": "config", "context": "c"}))
    outputs = registered["ExistingCluster"]
    assert outputs.keys() == {"context"}
    assert not [one for one in outputs.values() if isinstance(one, pulumi.Resource)]

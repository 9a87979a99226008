"""Own hardware: the device plugin's objects, and pools of nodes that are there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pulumi
import pytest
from berth_catalogue.accelerators import accelerators
from berth_components import ArgumentError
from berth_components.device_plugin import DevicePlugin
from berth_components.node_pools import NodePool
from berth_components.own_node_pool import OwnNodePool
from pulumi.provider.experimental.analyzer import Analyzer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Json = dict[str, Any]
KINDS = ("nvidia", "neuron")
SOCKETS = "/var/lib/kubelet/device-plugins"
DIGEST = "sha256:" + "ab" * 32
# Every argument with a value that is not its default.
ARGUMENTS: dict[str, Json] = {
    "node_selectors": {"node_selectors": [{"pool": "a"}]},
    "tolerations": {"tolerations": [{"key": "team", "value": "ml", "effect": "NoExecute"}]},
    "image": {"image": f"registry.example/plugin@{DIGEST}"},
    "namespace": {"namespace": "elsewhere"},
    "priority_class": {"priority_class": "important"},
    "resources": {"resources": {"cpu_request": "1", "memory_request": "1Gi", "memory_limit": "1Gi"}},
    "image_pull_secrets": {"image_pull_secrets": ["registry"]},
}
OF_ONE_KIND: dict[str, tuple[str, Json]] = {
    "runtime_class": ("nvidia", {"runtime_class": "nvidia"}),
    "mig_strategy": ("nvidia", {"mig_strategy": "mixed"}),
    "api_server_cidrs": ("neuron", {"api_server_cidrs": ["10.0.0.0/24"]}),
}


@pytest.fixture
def plug(render: Callable[..., Any]) -> Callable[..., Any]:
    def run(kind: str = "nvidia", changes: Json | None = None) -> Any:
        args = {"kind": kind, **(changes or {})}
        return render(lambda: DevicePlugin("plugin", args))  # type: ignore[arg-type] # built up by the test

    return run


def _without_metadata(objects: list[Json]) -> list[Json]:
    return [{**one, "metadata": {"name": one["metadata"]["name"]}} for one in objects]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("argument", [*ARGUMENTS, *OF_ONE_KIND])
def test_every_argument_changes_an_object_or_is_refused(
    plug: Callable[..., Any], kind: str, argument: str
) -> None:
    if argument in OF_ONE_KIND and OF_ONE_KIND[argument][0] != kind:
        with pytest.raises(ArgumentError, match=f"'{argument}' is given; allowed: only with kind"):
            plug(kind, OF_ONE_KIND[argument][1])
        return
    changes = ARGUMENTS.get(argument) or OF_ONE_KIND[argument][1]
    assert _without_metadata(plug(kind, changes).objects) != _without_metadata(plug(kind).objects)


def test_every_argument_is_in_the_table() -> None:
    definition = Analyzer("berth").analyze([DevicePlugin])["component_definitions"]["DevicePlugin"]
    snake = {
        "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
        for name in definition.inputs
    }
    assert snake == {"kind", *ARGUMENTS, *OF_ONE_KIND}
    assert {name: found.description for name, found in definition.inputs.items()}.values()
    assert definition.inputs["kind"].optional is False


@pytest.mark.parametrize("kind", KINDS)
def test_the_namespace_says_why_it_is_not_restricted(plug: Callable[..., Any], kind: str) -> None:
    rendered = plug(kind)
    namespace = rendered.one("Namespace")
    labels, notes = namespace["metadata"]["labels"], namespace["metadata"]["annotations"]
    assert labels["pod-security.kubernetes.io/enforce"] == "privileged"
    assert SOCKETS in notes["berth.dev/pod-security-reason"]
    assert namespace["metadata"]["name"] == f"berth-{kind}-device-plugin"
    inside = [o for o in rendered.objects if o["kind"] in {"DaemonSet", "ServiceAccount", "NetworkPolicy"}]
    assert {o["metadata"]["namespace"] for o in inside} == {namespace["metadata"]["name"]}


@pytest.mark.parametrize("kind", KINDS)
def test_it_may_do_as_little_as_it_can(plug: Callable[..., Any], kind: str) -> None:
    pod = plug(kind).one("DaemonSet")["spec"]["template"]["spec"]
    assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"}
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    context = container["securityContext"]
    assert (context["privileged"], context["allowPrivilegeEscalation"]) == (False, False)
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["readOnlyRootFilesystem"] is (kind == "nvidia")
    mounted = {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
    folders = {volume["hostPath"]["path"] for volume in pod["volumes"]}
    assert mounted.keys() == folders
    assert mounted == (
        {SOCKETS: False} if kind == "nvidia" else {SOCKETS: False, "/run": False, "/opt/aws": True}
    )
    assert container["resources"]["limits"]["memory"]
    assert pod["priorityClassName"] == "system-node-critical"
    # The kubelet's folder is root's alone.
    assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]) == (0, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_replaced_node_by_node(plug: Callable[..., Any], kind: str) -> None:
    strategy = plug(kind).one("DaemonSet")["spec"]["updateStrategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}


def test_nvidias_reaches_nothing_and_nobody_reaches_it(plug: Callable[..., Any]) -> None:
    rendered = plug("nvidia")
    policy = rendered.one("NetworkPolicy")["spec"]
    assert policy == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert not [o for o in rendered.objects if o["kind"].endswith(("Role", "Binding"))]
    assert rendered.one("DaemonSet")["spec"]["template"]["spec"]["automountServiceAccountToken"] is False


def test_neurons_reaches_the_api_server_alone(plug: Callable[..., Any]) -> None:
    rendered = plug("neuron", {"api_server_cidrs": ["10.0.0.0/24"]})
    assert rendered.one("NetworkPolicy", "default-deny")
    policy = rendered.one("NetworkPolicy", "neuron-device-plugin")["spec"]
    assert "ingress" not in policy
    (rule,) = policy["egress"]
    assert rule["to"] == [{"ipBlock": {"cidr": "10.0.0.0/24"}}]
    assert [port["port"] for port in rule["ports"]] == [443, 6443]
    wide = plug("neuron").one("NetworkPolicy", "neuron-device-plugin")["spec"]["egress"][0]["to"]
    assert all(peer["ipBlock"]["except"] for peer in wide)
    role, binding = rendered.one("ClusterRole"), rendered.one("ClusterRoleBinding")
    assert "*" not in json.dumps(role["rules"])
    account = rendered.one("ServiceAccount")["metadata"]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
    ]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]


def _terms(rendered: Any) -> list[Json]:
    affinity = rendered.one("DaemonSet")["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    assert list(affinity) == ["requiredDuringSchedulingIgnoredDuringExecution"]
    terms: list[Json] = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    return [
        {rule["key"]: rule["values"] for rule in term["matchExpressions"] if rule["operator"] == "In"}
        for term in terms
    ]


def test_one_plugin_serves_the_nodes_of_several_pools(render: Callable[..., Any]) -> None:
    def program() -> None:
        pools = [
            OwnNodePool("l4", {"accelerator": "nvidia-l4", "accelerators_per_node": 1, "max_nodes": 2}),
            OwnNodePool("more", {"accelerator": "nvidia-l4", "accelerators_per_node": 4, "max_nodes": 1}),
            OwnNodePool(
                "big",
                {
                    "accelerator": "nvidia-h100-80gb",
                    "accelerators_per_node": 8,
                    "max_nodes": 1,
                    "labels": {"rack": "7", "gpu": "h100"},
                },
            ),
        ]
        DevicePlugin(
            "plugin", {"kind": "nvidia", "node_selectors": [pool.spec.node_selector for pool in pools]}
        )

    assert _terms(render(program)) == [
        {"nvidia.com/gpu.product": ["NVIDIA-L4"]},
        {"gpu": ["h100"], "rack": ["7"]},
    ]


def test_without_pools_it_goes_where_the_projects_own_charts_put_it(plug: Callable[..., Any]) -> None:
    assert {"nvidia.com/gpu.present": ["true"]} in _terms(plug("nvidia"))
    (neuron,) = _terms(plug("neuron"))
    assert "inf2.xlarge" in neuron["node.kubernetes.io/instance-type"]


@pytest.mark.parametrize("kind", KINDS)
def test_it_tolerates_its_accelerators_taint(plug: Callable[..., Any], kind: str) -> None:
    rendered = plug(kind, {"tolerations": [{"key": "any"}, {"key": "team", "value": "ml"}]})
    resource = {"nvidia": "nvidia.com/gpu", "neuron": "aws.amazon.com/neuron"}[kind]
    assert rendered.one("DaemonSet")["spec"]["template"]["spec"]["tolerations"] == [
        {"key": resource, "operator": "Exists", "effect": "NoSchedule"},
        {"key": "any", "operator": "Exists"},
        {"key": "team", "operator": "Equal", "value": "ml"},
    ]


@pytest.mark.parametrize("strategy", ["single", "mixed"])
def test_slices_need_a_capability(plug: Callable[..., Any], strategy: str) -> None:
    (container,) = plug("nvidia", {"mig_strategy": strategy}).one("DaemonSet")["spec"]["template"]["spec"][
        "containers"
    ]
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    assert environment["MIG_STRATEGY"] == strategy
    assert environment["NVIDIA_MIG_MONITOR_DEVICES"] == "all"
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["SYS_ADMIN"]}
    assert container["securityContext"]["allowPrivilegeEscalation"] is True


def test_images_are_pinned_where_a_digest_is_known(plug: Callable[..., Any]) -> None:
    def image(kind: str) -> str:
        found: str = plug(kind).one("DaemonSet")["spec"]["template"]["spec"]["containers"][0]["image"]
        return found

    assert "@sha256:" in image("nvidia")
    assert image("neuron").startswith("public.ecr.aws/neuron/neuron-device-plugin:2.")


def test_an_output_is_checked_when_it_is_known(render: Callable[..., Any]) -> None:
    def program(strategy: str) -> Any:
        known = pulumi.Output.from_input(strategy)
        return render(lambda: DevicePlugin("plugin", {"kind": "nvidia", "mig_strategy": known}))

    container = program("single").one("DaemonSet")["spec"]["template"]["spec"]["containers"][0]
    assert container["securityContext"]["capabilities"]["add"] == ["SYS_ADMIN"]
    with pytest.raises(ValueError, match="'mig_strategy' is 'double'"):
        program("double")


WRONG: dict[str, tuple[Json, str]] = {
    "no kind": ({"kind": None}, "'kind' is missing; allowed: one of nvidia, neuron"),
    "other kind": ({"kind": "amd"}, "'kind' is 'amd'; allowed: one of nvidia, neuron"),
    "misspelt": ({"migStrategy": "none"}, "did you mean 'mig_strategy'?"),
    "every node": ({"node_selectors": [{}]}, "at least one label; without one"),
    "no selector": ({"node_selectors": []}, "a list of at least 1"),
    "label": ({"node_selectors": [{"a b": "x"}]}, "a Kubernetes qualified name"),
    "latest": ({"image": "registry.example/plugin:latest"}, "an image with a version or digest"),
    "effect": ({"tolerations": [{"key": "a", "effect": "Never"}]}, "NoSchedule, PreferNoSchedule, NoExecute"),
    "strategy": ({"mig_strategy": "double"}, "one of none, single, mixed"),
    "namespace": ({"namespace": "Own_Room"}, "lower-case letters"),
    "too little": (
        {"resources": {"cpu_request": "1", "memory_request": "2Gi", "memory_limit": "1Gi"}},
        "at least memory_request, which is 2Gi",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_of_the_plugin(plug: Callable[..., Any], case: str) -> None:
    changes, message = WRONG[case]
    with pytest.raises(ArgumentError) as refused:
        plug("nvidia", changes)
    assert message in str(refused.value)
    assert str(refused.value).startswith("DevicePlugin 'plugin': argument ")


POOL: Json = {"accelerator": "nvidia-l4", "accelerators_per_node": 2, "max_nodes": 3}


@pytest.fixture
def pool(render: Callable[..., Any]) -> Callable[..., Any]:
    def run(changes: Json | None = None) -> Any:
        made: list[OwnNodePool] = []
        args = {**POOL, **(changes or {})}
        rendered = render(lambda: made.append(OwnNodePool("cards", args)))  # type: ignore[arg-type] # built up
        assert rendered.objects == []
        return made[0]

    return run


def test_a_pool_finds_its_nodes_by_what_feature_discovery_says(pool: Callable[..., Any]) -> None:
    found = pool()
    assert isinstance(found, NodePool)
    assert dict(found.spec.node_selector) == {"nvidia.com/gpu.product": "NVIDIA-L4"}
    assert found.spec.resource == "nvidia.com/gpu"
    assert found.spec.max_accelerators == 6
    assert (found.spec.min_nodes, found.spec.max_nodes) == (3, 3)
    assert found.spec.tolerations == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def test_labels_and_taints_are_those_that_the_nodes_carry(pool: Callable[..., Any]) -> None:
    found = pool({"labels": {"rack": "7"}, "taints": [{"key": "team", "value": "ml", "effect": "NoExecute"}]})
    assert dict(found.spec.node_selector) == {"rack": "7"}
    assert found.spec.tolerations[1:] == [
        {"key": "team", "operator": "Equal", "value": "ml", "effect": "NoExecute"}
    ]


def test_every_accelerator_makes_a_pool_or_is_refused(pool: Callable[..., Any]) -> None:
    for key, known in accelerators().items():
        if known.vendor == "google":
            with pytest.raises(ArgumentError, match="outside Google Cloud"):
                pool({"accelerator": key, "labels": {"rack": "7"}})
        elif len(known.product_labels) == 1:
            selector = pool({"accelerator": key}).spec.node_selector
            assert selector == {"nvidia.com/gpu.product": known.product_labels[0]}
        else:
            with pytest.raises(ArgumentError, match="'labels' is missing") as refused:
                pool({"accelerator": key})
            assert all(product in str(refused.value) for product in known.product_labels)
            assert pool({"accelerator": key, "labels": {"rack": "7"}}).spec.resource == known.resource


def test_the_number_of_machines_is_what_it_is(pool: Callable[..., Any]) -> None:
    assert pool({"min_nodes": 3}).spec.min_nodes == 3
    for least in (0, 2):
        with pytest.raises(ArgumentError, match="no machines to add or take away"):
            pool({"min_nodes": least})


def test_own_machines_have_no_capacity_type(pool: Callable[..., Any]) -> None:
    with pytest.raises(ArgumentError, match="'capacity_type' is given"):
        pool({"capacity_type": "spot"})


def test_a_pools_outputs_are_those_of_every_ground(render: Callable[..., Any]) -> None:
    found: Json = {}

    def program() -> None:
        made = OwnNodePool("cards", {"accelerator": "nvidia-l4", "accelerators_per_node": 2, "max_nodes": 3})
        pulumi.Output.all(
            node_selector=made.node_selector,
            tolerations=made.tolerations,
            resource_key=made.resource_key,
            max_accelerators=made.max_accelerators,
        ).apply(found.update)

    render(program)
    assert found["node_selector"] == {"nvidia.com/gpu.product": "NVIDIA-L4"}
    assert found["resource_key"] == "nvidia.com/gpu"
    assert found["max_accelerators"] == 6


@pytest.mark.cluster
def test_the_api_server_takes_every_object(cluster: Any, render: Callable[..., Any], tmp_path: Path) -> None:
    rooms = ("plugin-nvidia", "plugin-neuron")

    def program() -> None:
        every = {key: value for change in ARGUMENTS.values() for key, value in change.items()}
        of_one = {
            kind: {
                key: value
                for owner, change in OF_ONE_KIND.values()
                if owner == kind
                for key, value in change.items()
            }
            for kind in KINDS
        }
        for kind, room in zip(KINDS, rooms, strict=True):
            args = {**every, **of_one[kind], "kind": kind, "namespace": room}
            DevicePlugin(kind, args)  # type: ignore[arg-type] # built up by the test

    objects = render(program).objects
    file, spaces = tmp_path / "objects.json", tmp_path / "namespaces.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    namespaces = [o for o in objects if o["kind"] == "Namespace"]
    spaces.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": namespaces}))
    try:
        # A dry run of what is in a namespace needs the namespace; only the two are there, for a moment.
        cluster.kubectl("apply", "--server-side", "--field-manager=berth", "-f", str(spaces))
        applied = cluster.kubectl(
            *("apply", "--server-side", "--dry-run=server", "--validate=strict", "--field-manager=berth"),
            *("--warnings-as-errors", "-f", str(file)),
        )
    finally:
        cluster.kubectl("delete", "namespace", *rooms, "--ignore-not-found", "--wait=false")
    assert applied.count("(server dry run)") == len(objects) > 10

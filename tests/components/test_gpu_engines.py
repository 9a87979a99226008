"""Model servers on accelerators: what the engine's container is told, needs and may reach."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
from typing import TYPE_CHECKING, Any

import pulumi
import pytest
from berth_catalogue.engines import engine, engines
from berth_components import ArgumentError, model_server_engine

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]
FILES = [
    {"path": "config.json", "size": 700, "sha256": "c" * 64},
    {"path": "model.safetensors", "size": 15_231_000_000, "sha256": "d" * 64},
]
REVISION = "0123456789" * 4
BASE: Json = {
    "engine.name": "vllm",
    "engine.resources": {"cpu_request": "4", "memory_request": "32Gi", "memory_limit": "64Gi"},
    "weights.source": "hub",
    "weights.file": None,
    "weights.sha256": None,
    "weights.repo": "example/tiny",
    "weights.revision": REVISION,
    "weights.files": FILES,
    "gpu": {"count": 4},
}
NEURON = {"gpu": {"count": 3, "resource": "aws.amazon.com/neuron"}}
TPU = {"gpu": {"count": 4, "resource": "google.com/tpu"}}
FOLDER = f"/models/example--tiny/{REVISION}"


def container(rendered: Any, name: str) -> Json:
    pod = rendered.pods[0]
    found = [one for one in [*pod["initContainers"], *pod["containers"]] if one["name"] == name]
    assert len(found) == 1
    return dict(found[0])


def flag(container: Json, name: str) -> str:
    args = container["args"]
    return str(args[args.index(name) + 1])


def config(rendered: Any, name: str) -> Json:
    return dict(rendered.one("ConfigMap", f"chat-{name}")["data"])


def in_order(rendered: Any) -> list[str]:
    """Its objects, in an order that does not depend on what was known when."""
    return sorted(json.dumps(one, sort_keys=True) for one in rendered.objects)


def test_vllm_is_told_everything_that_was_set(serve: Callable[..., Any]) -> None:
    rendered = serve({**BASE, "engine.quantisation": "fp8", "engine.prefix_caching": False})
    found = container(rendered, "engine")
    assert found["command"] == ["vllm", "serve"]
    assert found["args"][0] == FOLDER
    told = {name: flag(found, name) for name in ("--host", "--port", "--max-model-len", "--max-num-seqs")}
    assert told == {"--host": "127.0.0.1", "--port": "8001", "--max-model-len": "1024", "--max-num-seqs": "4"}
    assert flag(found, "--served-model-name") == "example/tiny"
    assert flag(found, "--tensor-parallel-size") == "4"
    assert flag(found, "--pipeline-parallel-size") == "1"
    assert flag(found, "--quantization") == "fp8"
    assert "--no-enable-prefix-caching" in found["args"]
    assert found["resources"]["limits"]["nvidia.com/gpu"] == "4"
    assert found["resources"]["requests"]["nvidia.com/gpu"] == "4"
    assert config(rendered, "gateway")["BERTH_ENGINE"] == "vllm"
    assert config(rendered, "gateway")["BERTH_ENGINE_DEVICE"] == "gpu"
    assert config(rendered, "gateway")["BERTH_ENGINE_STALL_SECONDS"] == "180"
    assert config(rendered, "engine")["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize("name", ["vllm", "sglang", "tgi"])
def test_it_keeps_pod_security_restricted_and_writes_to_its_own_volumes(
    serve: Callable[..., Any], name: str
) -> None:
    rendered = serve({**BASE, "engine.name": name})
    found = container(rendered, "engine")
    security = found["securityContext"]
    assert (security["allowPrivilegeEscalation"], security["readOnlyRootFilesystem"]) == (False, True)
    assert rendered.pods[0]["securityContext"]["runAsNonRoot"] is True
    mounts = {one["mountPath"]: one for one in found["volumeMounts"]}
    assert mounts["/models"]["readOnly"] is True
    volumes = {one["name"]: one for one in rendered.pods[0]["volumes"]}
    shared = volumes[mounts["/dev/shm"]["name"]]["emptyDir"]  # noqa: S108 - a path in a container
    assert shared == {"medium": "Memory", "sizeLimit": engine(name).needs.shared_memory}
    assert volumes[mounts["/scratch"]["name"]]["emptyDir"] == {"sizeLimit": engine(name).needs.scratch}
    writable = [value for value in config(rendered, "engine").values() if value.startswith("/")]
    assert all(value.startswith("/scratch") for value in writable)
    evictable = rendered.one("Deployment")["spec"]["template"]["metadata"]["annotations"][
        "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
    ]
    local = {one["name"] for one in rendered.pods[0]["volumes"] if "emptyDir" in one}
    assert set(evictable.split(",")) == local


def test_start_up_has_the_engines_own_budget(serve: Callable[..., Any]) -> None:
    for changes, seconds in (({}, 900), (NEURON, 3600), (TPU, 1800)):
        rendered = serve({**BASE, **changes})
        probe = container(rendered, "engine")["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] >= seconds
        fetch = 3600
        assert rendered.one("Deployment")["spec"]["progressDeadlineSeconds"] == 2 * seconds + 120 + fetch
    measured = serve({**BASE, "probes.startup_seconds": 70})
    probe = container(measured, "engine")["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == 70


def test_neuron_counts_cores_and_takes_its_own_environment(serve: Callable[..., Any]) -> None:
    rendered = serve({**BASE, **NEURON})
    found = container(rendered, "engine")
    assert flag(found, "--tensor-parallel-size") == "6"
    assert found["resources"]["limits"]["aws.amazon.com/neuron"] == "3"
    assert "--pipeline-parallel-size" not in found["args"]
    assert config(rendered, "engine")["NEURON_COMPILED_ARTIFACTS"] == "/scratch/neuron"
    assert config(rendered, "gateway")["BERTH_ENGINE_DEVICE"] == "neuron"
    assert {"key": "aws.amazon.com/neuron", "operator": "Exists", "effect": "NoSchedule"} in rendered.pods[0][
        "tolerations"
    ]


def test_layers_are_spread_where_fewer_devices_cut_them(serve: Callable[..., Any]) -> None:
    found = container(serve({**BASE, "gpu.count": 8, "engine.tensor_parallel": 4}), "engine")
    assert (flag(found, "--tensor-parallel-size"), flag(found, "--pipeline-parallel-size")) == ("4", "2")
    found = container(
        serve({**BASE, "engine.name": "sglang", "gpu.count": 8, "engine.tensor_parallel": 4}), "engine"
    )
    assert (flag(found, "--tp-size"), flag(found, "--pp-size")) == ("4", "2")


@pytest.mark.parametrize(
    ("changes", "argument", "said"),
    [
        ({"engine.threads": 4}, "engine.threads", ["engine.name is vllm", "accelerators"]),
        ({"engine.dtype": "int3"}, "engine.dtype", ["'int3'", "bfloat16"]),
        ({"engine.name": "tgi", "engine.dtype": "auto"}, "engine.dtype", ["'auto'", "bfloat16"]),
        ({"engine.name": "tgi", "engine.prefix_caching": True}, "engine.prefix_caching", ["by itself"]),
        ({"engine.memory_fraction": 1.5}, "engine.memory_fraction", ["1.5", "at most 1"]),
        ({"engine.tensor_parallel": 3}, "engine.tensor_parallel", ["is 3", "divides the replica's 4"]),
        (
            {"engine.name": "tgi", "engine.tensor_parallel": 2},
            "engine.tensor_parallel",
            ["is 2", "allowed: 4", "lie idle"],
        ),
        ({"engine.shared_memory": "64Gi"}, "engine.shared_memory", ["less than", "64Gi"]),
        ({**NEURON, "engine.quantisation": "fp8"}, "engine.quantisation", ["on aws.amazon.com/neuron"]),
        ({**TPU, "engine.name": "sglang"}, "gpu.resource", ["google.com/tpu", "one of nvidia.com/gpu"]),
        ({"gpu.resource": "example.com/chip"}, "gpu.resource", ["no build for example.com/chip"]),
        ({"gpu": {"count": 0}}, "gpu.count", ["at least 1", "vllm"]),
        ({"model.format": "gguf"}, "model.format", ["'gguf'", "safetensors"]),
        ({"weights.sha256": "a" * 64}, "weights.sha256", ["source is hub"]),
        ({"weights.file": "x.gguf"}, "weights.file", ["format is safetensors"]),
        ({"weights.revision": "main"}, "weights.revision", ["'main'", "never a branch"]),
        ({"weights.repo": "tiny"}, "weights.repo", ["'tiny'", "<owner>/<name>"]),
        ({"weights.files": None}, "weights.files", ["missing"]),
        ({"weights.files": [FILES[0]]}, "weights.files", ["no weights", "berth weights pin"]),
        (
            {"weights.files": [*FILES, {"path": "a.bin", "size": 1, "sha256": "e" * 64}]},
            "weights.files",
            ["files[2].path", "no pickle"],
        ),
        (
            {"weights.files": [*FILES, {"path": "../a.json", "size": 1, "sha256": "e" * 64}]},
            "weights.files",
            ["files[2].path", "relative path"],
        ),
        ({"weights.size": "10Gi"}, "weights.size", ["10Gi", "15231000700 bytes"]),
        ({"weights.hub_url": "http://hub.example"}, "weights.hub_url", ["https://"]),
        ({"weights.hub_cidrs": ["169.254.169.254/32"]}, "weights.hub_cidrs", ["metadata"]),
        ({"weights.hub_cidrs": ["0.0.0.0/0"]}, "weights.hub_cidrs", ["metadata"]),
        ({"weights.source": "volume"}, "weights.path", ["missing"]),
        (
            {"weights.source": "volume", "weights.path": "tiny"},
            "weights.storage",
            ["ephemeral", "claim where source is volume"],
        ),
        (
            {"weights.source": "volume", "weights.path": "../x", "weights.storage": "claim"},
            "weights.path",
            ["'../x'", "folder in the volume"],
        ),
        ({"weights.source": "volume", "weights.token_secret": "hub"}, "weights.token_secret", ["volume"]),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(
    serve: Callable[..., Any], changes: Json, argument: str, said: list[str]
) -> None:
    with pytest.raises(ArgumentError) as caught:
        serve({**BASE, **changes})
    assert caught.value.argument == argument
    for words in said:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    "setting",
    [
        {"engine.tensor_parallel": 2},
        {"engine.dtype": "float16"},
        {"engine.quantisation": "fp8"},
        {"engine.kv_cache_dtype": "fp8"},
        {"engine.memory_fraction": 0.5},
        {"engine.prefix_caching": True},
        {"engine.shared_memory": "1Gi"},
        {"engine.scratch": "1Gi"},
    ],
)
def test_llama_cpp_refuses_what_only_accelerators_know(serve: Callable[..., Any], setting: Json) -> None:
    with pytest.raises(ArgumentError) as caught:
        serve(setting)
    assert caught.value.argument == next(iter(setting))
    assert "engine.name is llama.cpp" in str(caught.value)


def test_the_fetcher_gets_the_manifest_and_the_token_as_files(serve: Callable[..., Any]) -> None:
    rendered = serve({**BASE, "weights.token_secret": "hub-access"})
    found = container(rendered, "weights")
    env = {one["name"]: one.get("value") for one in found["env"]}
    assert env == {
        "BERTH_WEIGHTS_DIR": "/models",
        "BERTH_WEIGHTS_FOLDER": f"example--tiny/{REVISION}",
        "BERTH_WEIGHTS_HUB": "https://huggingface.co",
        "BERTH_WEIGHTS_MANIFEST": "/etc/berth/weights/manifest.json",
        "BERTH_WEIGHTS_SECONDS": "3600",
        "BERTH_WEIGHTS_SOURCE": "hub",
        "BERTH_WEIGHTS_TOKEN_FILE": "/etc/berth/hub-token/token",
    }
    manifest = json.loads(config(rendered, "weights")["manifest.json"])
    assert manifest == {"repo": "example/tiny", "revision": REVISION, "files": FILES}
    mounts = {one["mountPath"]: one["name"] for one in found["volumeMounts"]}
    volumes = {one["name"]: one for one in rendered.pods[0]["volumes"]}
    assert volumes[mounts["/etc/berth/weights"]]["configMap"]["name"] == "chat-weights"
    assert volumes[mounts["/etc/berth/hub-token"]]["secret"]["secretName"] == "hub-access"
    elsewhere = [container(rendered, name)["volumeMounts"] for name in ("engine", "gateway")]
    assert not any("token" in one["name"] for mounts in elsewhere for one in mounts)


def test_another_revision_rolls_the_pods_and_a_token_does_not_show(serve: Callable[..., Any]) -> None:
    def checksum(changes: Json) -> str:
        deployment = serve({**BASE, **changes}).one("Deployment")
        return str(deployment["spec"]["template"]["metadata"]["annotations"]["berth.dev/config-checksum"])

    assert checksum({}) != checksum({"weights.files": [{**FILES[0], "sha256": "e" * 64}, FILES[1]]})


def test_an_engine_that_only_runs_as_root_is_refused(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = engine("tgi")
    rooted = dataclasses.replace(found, needs=dataclasses.replace(found.needs, non_root=False))
    monkeypatch.setattr(model_server_engine, "engines", lambda: {**engines(), "tgi": rooted})
    with pytest.raises(ArgumentError, match="another user than root"):
        serve({**BASE, "engine.name": "tgi"})


def test_room_for_the_files_is_asked_for(serve: Callable[..., Any]) -> None:
    pod = serve(BASE).pods[0]
    claim = next(one for one in pod["volumes"] if one["name"] == "weights")["ephemeral"][
        "volumeClaimTemplate"
    ]
    assert claim["spec"]["resources"]["requests"]["storage"] == "16Gi"


def reachable(policy: Json, address: str, port: int) -> bool:
    """Whether a network policy lets its pods go to an address."""
    found = ipaddress.ip_address(address)
    for rule in policy["spec"].get("egress", []):
        if port not in [one["port"] for one in rule["ports"]]:
            continue
        for peer in rule["to"]:
            block = peer.get("ipBlock")
            if block is None or ipaddress.ip_network(block["cidr"]).version != found.version:
                continue
            if found in ipaddress.ip_network(block["cidr"]) and not any(
                found in ipaddress.ip_network(one) for one in block.get("except", [])
            ):
                return True
    return False


def test_the_pod_reaches_the_hub_and_no_metadata_server_or_private_network(serve: Callable[..., Any]) -> None:
    policy = serve(BASE).one("NetworkPolicy")
    assert reachable(policy, "198.51.100.7", 443)
    assert reachable(policy, "2001:db8::1", 443)
    for closed in ("169.254.169.254", "169.254.170.23", "fd00:ec2::254", "10.0.0.1", "172.20.0.1", "fe80::1"):
        assert not reachable(policy, closed, 443)
        assert not reachable(policy, closed, 80)
        assert not reachable(policy, closed, 53)
    assert not reachable(policy, "198.51.100.7", 80)
    # On EKS Auto Mode no pod of kube-system answers: the DNS Service's address does; Cloud DNS for GKE
    # answers at the metadata server's address.
    for dns, addresses in {
        "pods": [],
        "eks": ["10.100.0.10", "172.20.0.10"],
        "gke": ["169.254.169.254"],
    }.items():
        policy = serve({**BASE, "dns": dns}).one("NetworkPolicy")
        for names in ("10.100.0.10", "172.20.0.10", "169.254.169.254"):
            assert reachable(policy, names, 53) is (names in addresses)
            assert not reachable(policy, names, 443)
            assert not reachable(policy, names, 80)
        assert reachable(policy, "169.254.20.10", 53)
    narrow = serve(
        {**BASE, "weights.hub_cidrs": ["10.9.0.0/24"], "weights.hub_url": "https://hub.example:8443/"}
    ).one("NetworkPolicy")
    assert reachable(narrow, "10.9.0.4", 8443)
    assert not reachable(narrow, "198.51.100.7", 8443)


def test_nothing_is_reachable_where_the_weights_are_there(serve: Callable[..., Any]) -> None:
    filled = {
        **BASE,
        "weights.source": "volume",
        "weights.path": "models/tiny",
        "weights.storage": "claim",
        "weights.claim_name": "filled",
    }
    for rendered in (serve(), serve(filled)):
        assert "egress" not in rendered.one("NetworkPolicy")["spec"]
    rendered = serve(filled)
    volume = next(one for one in rendered.pods[0]["volumes"] if one["name"] == "weights")
    assert volume["persistentVolumeClaim"] == {"claimName": "filled", "readOnly": True}
    assert container(rendered, "weights")["volumeMounts"][0]["readOnly"] is True
    assert container(rendered, "engine")["args"][0] == "/models/models/tiny"
    assert not [one for one in rendered.objects if one["kind"] == "PersistentVolumeClaim"]


def test_a_gguf_file_of_a_hub_is_for_llama_cpp(serve: Callable[..., Any]) -> None:
    gguf = {
        **BASE,
        "engine.name": "llama.cpp",
        "gpu": None,
        "model.format": "gguf",
        "weights.file": "tiny.gguf",
        "weights.files": [{"path": "tiny.gguf", "size": 5, "sha256": "e" * 64}],
    }
    assert config(serve(gguf), "engine")["BERTH_WEIGHTS"] == f"{FOLDER}/tiny.gguf"
    with pytest.raises(ArgumentError, match=r"weights\.file"):
        serve({**gguf, "weights.file": "other.gguf"})


def test_a_pools_outputs_place_the_pods(serve: Callable[..., Any]) -> None:
    """A pool says node selector, tolerations and resource as outputs; the pod is as with plain values."""
    selector = {"berth.dev/pool": "l4"}
    tolerations = [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "spot", "operator": "Equal", "value": "yes", "effect": "NoSchedule"},
    ]
    placement = {"placement.node_selector": selector, "placement.tolerations": tolerations}
    plain = serve({**BASE, **placement})
    outputs = {path: pulumi.Output.from_input(value) for path, value in placement.items()}
    lifted = serve({**BASE, **outputs, "gpu.resource": pulumi.Output.from_input("nvidia.com/gpu")})
    assert in_order(plain) == in_order(lifted)
    assert plain.pods[0]["nodeSelector"] == selector
    assert plain.pods[0]["tolerations"] == tolerations, "the accelerator's own is not there twice"


def test_pins_may_be_outputs(serve: Callable[..., Any]) -> None:
    """As from another stack, where numbers have become floats."""
    floats = [{**one, "size": float(str(one["size"]))} for one in FILES]
    lifted = {
        "weights.files": pulumi.Output.from_input(floats),
        "weights.repo": pulumi.Output.from_input("example/tiny"),
        "weights.revision": pulumi.Output.from_input(REVISION),
    }
    assert in_order(serve({**BASE, **lifted})) == in_order(serve(BASE))


def test_wrong_tolerations_of_an_output_are_refused_by_path(serve: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"'placement\.tolerations\[0\]\.operator' is 'In'"):
        serve({"placement.tolerations": pulumi.Output.from_input([{"key": "a", "operator": "In"}])})


def test_identity_is_bound_by_annotation_and_its_token_mounted_nowhere(serve: Callable[..., Any]) -> None:
    annotation = {"iam.gke.io/gcp-service-account": "server@project.iam.gserviceaccount.com"}
    rendered = serve({"service_account.annotations": annotation})
    account = rendered.one("ServiceAccount")
    assert account["metadata"]["annotations"] == annotation
    assert account["automountServiceAccountToken"] is False
    assert rendered.pods[0]["automountServiceAccountToken"] is False
    assert "annotations" not in serve().one("ServiceAccount")["metadata"]

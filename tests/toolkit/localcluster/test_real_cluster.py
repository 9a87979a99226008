"""What runs in a cluster: pods, Services, names, volumes, images, GPUs; and who reaches it."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from berth.localcluster import ApiError, Cluster, ClusterError, ImageError
from berth.localcluster.images import ScratchImage
from berth.localcluster.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.cluster


def pod(name: str, image: str, *arguments: str, **spec: Any) -> dict[str, Any]:
    """A pod that passes Pod Security "restricted"."""
    volumes = spec.pop("mounts", [])
    resources = spec.pop("resources", {})
    container = {
        "name": "main",
        "image": image,
        "args": list(arguments),
        "resources": resources,
        "volumeMounts": volumes,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    security = {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "fsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "containers": [container],
            "securityContext": security,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            **spec,
        },
    }


def apply(cluster: Cluster, namespace: str, *objects: dict[str, Any]) -> None:
    items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    cluster.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(items))


def until_ready(cluster: Cluster, namespace: str, *names: str) -> None:
    cluster.kubectl(
        "-n", namespace, "wait", "--for=condition=Ready", "--timeout=60s", *(f"pod/{name}" for name in names)
    )


def fetch(url: str, seconds: float = 5) -> str:
    with urllib.request.urlopen(url, timeout=seconds) as answer:  # noqa: S310 (our own http URLs)
        text: str = answer.read().decode()
    return text


@pytest.fixture(scope="module")
def space(own: Cluster) -> str:
    name = "restricted"
    own.kubectl("create", "namespace", name)
    own.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    return name


@pytest.fixture(scope="module")
def web(own: Cluster, space: str, probe: ScratchImage) -> str:
    """The URL of a NodePort whose Service has one pod."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    apply(own, space, pod("web", probe.reference, "serve", ":8080", "hello"), service)
    apply(own, space, pod("client", probe.reference, "serve", ":8080", "client"))
    until_ready(own, space, "web", "client")
    port = own.kubectl("-n", space, "get", "service", "web", "-o", "jsonpath={.spec.ports[0].nodePort}")
    url = f"http://{own.node_address}:{port}"
    assert wait_until(lambda: answers(url), 20)
    return url


def answers(url: str) -> bool:
    try:
        return bool(fetch(url, 1))
    except OSError:
        return False


def test_a_service_answers_at_the_nodes_address(web: str) -> None:
    assert fetch(web) == "hello"


@pytest.mark.usefixtures("web")
def test_a_service_answers_at_its_own_address(own: Cluster, space: str) -> None:
    address = own.kubectl("-n", space, "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
    assert fetch(f"http://{address}") == "hello"


@pytest.mark.usefixtures("web")
def test_pods_find_services_by_name(own: Cluster, space: str) -> None:
    client = own.kubectl("-n", space, "get", "pod", "client", "-o", "jsonpath={.status.podIP}")
    assert fetch(f"http://{client}:8080/get?http://web/") == "hello"
    assert fetch(f"http://{client}:8080/get?http://web.{space}.svc.cluster.local/") == "hello"
    api = fetch(f"http://{client}:8080/resolve?kubernetes.default.svc.cluster.local")
    assert api == f"[{own.kubectl('get', 'service', 'kubernetes', '-o', 'jsonpath={.spec.clusterIP}')}]"


def test_a_pod_reaches_itself_through_its_service(web: str, space: str) -> None:
    # Not by the short name: that is the pod's own, in its /etc/hosts.
    assert fetch(f"{web}/get?http://web.{space}/") == "hello"


@pytest.mark.parametrize("target", ["http://192.0.2.77/", "http://outside.example/"])
def test_no_pod_reaches_beyond_this_machine(web: str, target: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        fetch(f"{web}/get?{target}")
    with caught.value as answer:
        assert answer.code == 502
        said = answer.read().decode()
    # By an answer, not by waiting for one that never comes.
    assert "no such host" in said or "connection refused" in said


def test_kubectl_reads_a_pods_log_through_the_verified_kubelet(
    own: Cluster, space: str, probe: ScratchImage
) -> None:
    apply(own, space, pod("writer", probe.reference, "write", "/dev/null", "x"))
    until_ready(own, space, "writer")
    assert wait_until(lambda: own.kubectl("-n", space, "logs", "writer") == "written\n", 10)


def test_a_claim_gets_a_folder_and_gives_it_back(own: Cluster, space: str, probe: ScratchImage) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    mounts = [{"name": "data", "mountPath": "/data"}]
    apply(
        own,
        space,
        claim,
        pod("keeper", probe.reference, "write", "/data/file", "kept", volumes=volumes, mounts=mounts),
    )
    until_ready(own, space, "keeper")
    volume = own.kubectl("-n", space, "get", "pvc", "data", "-o", "jsonpath={.spec.volumeName}")
    file = own.paths.volumes / volume / "file"
    assert wait_until(lambda: file.exists() and file.read_text() == "kept", 10)
    assert file.stat().st_gid == 65532
    affinity = own.kubectl("get", "pv", volume, "-o", "jsonpath={.spec.nodeAffinity}")
    assert "localcluster-tests-1" in affinity
    own.kubectl("-n", space, "delete", "pod/keeper", "pvc/data")
    assert wait_until(lambda: not file.parent.exists(), 20)
    assert wait_until(lambda: volume not in own.kubectl("get", "pv"), 20)


def test_a_generic_ephemeral_volume_lives_as_long_as_its_pod(
    own: Cluster, space: str, probe: ScratchImage
) -> None:
    template = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    volumes = [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}]
    mounts = [{"name": "scratch", "mountPath": "/data"}]
    apply(
        own, space, pod("brief", probe.reference, "write", "/data/file", "x", volumes=volumes, mounts=mounts)
    )
    until_ready(own, space, "brief")
    volume = own.kubectl("-n", space, "get", "pvc", "brief-scratch", "-o", "jsonpath={.spec.volumeName}")
    assert (own.paths.volumes / volume).is_dir()
    own.kubectl("-n", space, "delete", "pod/brief")
    assert wait_until(lambda: not (own.paths.volumes / volume).exists(), 30)


def test_a_claim_that_cannot_be_served_says_why(own: Cluster, space: str, probe: ScratchImage) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "shared"},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "shared"}}]
    apply(own, space, claim, pod("waiting", probe.reference, "write", "/x", "x", volumes=volumes))

    def events() -> str:
        selector = "--field-selector=involvedObject.name=shared,reason=ProvisioningFailed"
        return own.kubectl("-n", space, "get", "events", selector, "-o", "jsonpath={.items[*].message}")

    assert wait_until(lambda: "ReadWriteMany is not supported" in events(), 20)
    own.kubectl("-n", space, "delete", "pod/waiting", "pvc/shared")


def test_images_come_and_go(own: Cluster, probe: ScratchImage, tmp_path: Path) -> None:
    program = tmp_path / "other"
    program.write_bytes(b"other")
    image = ScratchImage("other", program)
    assert not own.has_image(image.reference)
    assert own.import_image(image.write(tmp_path)) == [image.reference]
    assert own.has_image(image.reference)
    assert not own.has_image(image.reference[:-1])
    assert {image.reference, probe.reference} <= set(own.images())
    own.remove_image(image.reference, "berth.local/never:there")
    assert image.reference not in own.images()


def test_an_archive_of_no_image_is_refused_by_name(own: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "image.tar"
    file.write_text("no tar")
    with pytest.raises(ImageError, match=str(file)):
        own.import_image(file)


def test_simulated_gpus_are_scheduled_and_called_simulated(
    own: Cluster, space: str, probe: ScratchImage
) -> None:
    own.simulate_gpus(2)
    node = json.loads(own.kubectl("get", "node", "localcluster-tests-1", "-o", "json"))
    assert node["metadata"]["labels"]["berth.dev/simulated-gpu"] == "true"
    gpu = {"limits": {"nvidia.com/gpu": "2"}}
    apply(own, space, pod("fits", probe.reference, "serve", ":8080", "x", resources=gpu))
    until_ready(own, space, "fits")
    apply(own, space, pod("waits", probe.reference, "serve", ":8080", "x", resources=gpu))

    def reason() -> str:
        return own.kubectl(
            "-n", space, "get", "pod", "waits", "-o", "jsonpath={.status.conditions[*].message}"
        )

    assert wait_until(lambda: "Insufficient nvidia.com/gpu" in reason(), 20)
    own.kubectl("-n", space, "delete", "pod/fits", "pod/waits")
    own.simulate_gpus(0)
    node = json.loads(own.kubectl("get", "node", "localcluster-tests-1", "-o", "json"))
    assert "berth.dev/simulated-gpu" not in node["metadata"]["labels"]
    assert node["status"]["allocatable"].get("nvidia.com/gpu", "0") == "0"


def test_nobody_is_let_in_without_a_certificate(own: Cluster) -> None:
    context = ssl.create_default_context(cafile=str(own.paths.pki / "cluster-ca.crt"))
    request = urllib.request.Request(f"{own.server}/version")  # noqa: S310 (our own https URL)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, context=context, timeout=5)  # noqa: S310 (as above)
    caught.value.close()
    assert caught.value.code == 401
    assert own.kubeconfig.stat().st_mode & 0o777 == 0o600


def test_the_api_server_listens_on_the_bridge_alone(own: Cluster) -> None:
    host, port = own.server.removeprefix("https://").split(":")
    with socket.create_connection((host, int(port)), timeout=5):
        pass
    listening = subprocess.run(
        ["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True, check=True
    ).stdout
    mine = [line.split()[3] for line in listening.splitlines() if line.split()[3].startswith(f"{host}:")]
    assert mine == [f"{host}:{port}"]
    assert not [
        line for line in listening.splitlines() if line.split()[3].startswith(("0.0.0.0:", "*:", "[::]:"))
    ]


@pytest.fixture
def neighbour() -> Iterator[list[str]]:
    """A command prefix that runs in a network of its own, which reaches this machine by another interface."""
    name, address = "nb-berth-test", "198.19.255.1"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for line in (
            f"link add {name} type veth peer name eth0 netns {name}",
            f"address add {address}/30 dev {name}",
            f"link set {name} up",
            f"-n {name} address add 198.19.255.2/30 dev eth0",
            f"-n {name} link set eth0 up",
            f"-n {name} route add default via {address}",
        ):
            subprocess.run(["ip", *line.split()], check=True)
        yield ["ip", "netns", "exec", name]
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)
        subprocess.run(["ip", "link", "delete", name], check=False, capture_output=True)


def test_who_comes_by_another_interface_is_not_heard(own: Cluster, neighbour: list[str]) -> None:
    script = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2)"
    host, port = own.server.removeprefix("https://").split(":")
    with socket.create_server(("198.19.255.1", 0)) as server:
        open_port = str(server.getsockname()[1])
        subprocess.run([*neighbour, "python3", "-c", script, "198.19.255.1", open_port], check=True)
    done = subprocess.run(
        [*neighbour, "python3", "-c", script, host, port], capture_output=True, text=True, check=False
    )
    assert done.returncode
    assert "TimeoutError" in done.stderr


def test_status_names_everything(own: Cluster) -> None:
    status = own.status()
    assert status.state == "running"
    assert status.problems == ()
    names = {process.program for process in own.processes()}
    assert names == {
        "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "berth-provisioner",
        "containerd", "kubelet", "kube-proxy",
    }  # fmt: skip
    assert json.loads(json.dumps(status.to_json()))["server"] == own.server
    assert own.name in [cluster.name for cluster in Cluster.list()]


def test_logs_are_there_by_component(own: Cluster) -> None:
    assert len(own.logs("kube-apiserver", 5).splitlines()) == 5
    with pytest.raises(ClusterError, match=r"there are: .*kube-apiserver.*node1-kubelet"):
        own.logs("nonsense")


def test_what_kubectl_says_is_the_error(own: Cluster) -> None:
    with pytest.raises(ApiError, match='namespaces "nowhere" not found'):
        own.kubectl("get", "namespace", "nowhere")


@pytest.fixture
def open_cluster() -> Iterator[Cluster]:
    """A second cluster, whose pods may leave this machine."""
    cluster = Cluster("localcluster-tests-open", egress=True)
    cluster.delete()
    yield cluster
    cluster.delete()


@pytest.fixture
def outside(neighbour: list[str], probe: ScratchImage) -> Iterator[str]:
    """The URL of a server that this machine reaches by an interface which is no cluster's."""
    url = "http://198.19.255.2:8080/"
    with subprocess.Popen(
        [*neighbour, str(probe.program), "serve", "198.19.255.2:8080", "outside"]
    ) as server:
        try:
            assert wait_until(lambda: answers(url), 10)
            yield url
        finally:
            server.kill()


def test_pods_leave_this_machine_where_that_was_asked_for(
    open_cluster: Cluster, web: str, probe: ScratchImage, outside: str, tmp_path: Path
) -> None:
    forwarding = Path("/proc/sys/net/ipv4/ip_forward")
    before = forwarding.read_text()
    open_cluster.start()
    open_cluster.import_image(probe.write(tmp_path))
    apply(open_cluster, "default", pod("client", probe.reference, "serve", ":8080", "client"))
    until_ready(open_cluster, "default", "client")
    client = open_cluster.kubectl("get", "pod", "client", "-o", "jsonpath={.status.podIP}")
    assert fetch(f"http://{client}:8080/get?{outside}") == "outside"
    # The other cluster's pods still may not.
    with pytest.raises(urllib.error.HTTPError, match="502") as caught:
        fetch(f"{web}/get?{outside}")
    caught.value.close()
    open_cluster.delete()
    assert forwarding.read_text() == before

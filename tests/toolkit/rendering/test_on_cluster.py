"""What is rendered, on a real API server: the same objects as `up` makes, by Helm and by kubectl."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from berth.deployer import Interpreter, RunRequest, apply, load_config, load_project, preview, up
from berth.rendering import Chart, Secrets, collect, plain, write
from berth.rendering import helm as chart_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from berth.localcluster import Cluster
    from berth.rendering import Collected

pytestmark = pytest.mark.cluster
Objects = dict[tuple[str, str, str], dict[str, Any]]
OPERATOR = Path(__file__).parent / "crds" / "external-secrets.io_externalsecrets.yaml"
SPACES = ("berth-local", "berth-metrics", "berth-monitoring", "berth-node-agents")
ROLES = ("berth-metrics-adapter", "berth-prometheus")
NODE_PORT = 30971  # so that a local stack of another test does not have it
# What the API server and each tool write of their own into an object's metadata.
SERVER = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "uid")
TOOLS = (
    *("berth.dev/", "meta.helm.sh/", "argocd.argoproj.io/", "deployment.kubernetes.io/", "pulumi.com/"),
    *("pv.kubernetes.io/", "volume.kubernetes.io/", "volume.beta.kubernetes.io/"),
)
LABELS = ("applyset.kubernetes.io/part-of", "app.kubernetes.io/managed-by")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 150
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def gone(cluster: Cluster) -> bool:
    """Say whether nothing of the stack is left."""
    words = ("get", "namespaces,clusterroles,clusterrolebindings,apiservices", "-o", "name")
    left = cluster.kubectl(*words)
    return not any(name in left for name in (*SPACES, *ROLES, "external.metrics.k8s.io"))


def stripped(live: dict[str, Any]) -> dict[str, Any]:
    """Give an object without what is not of the program: see above."""
    metadata = {key: value for key, value in live["metadata"].items() if key not in SERVER}
    for field in ("labels", "annotations"):
        kept = {
            key: value
            for key, value in (metadata.pop(field, None) or {}).items()
            if key not in LABELS and not key.startswith(TOOLS)
        }
        if kept:
            metadata[field] = kept
    result = {key: value for key, value in live.items() if key not in {"status", "secrets"}}
    result["metadata"] = metadata
    spec = dict(result.get("spec") or {})
    for assigned in ("clusterIP", "clusterIPs", "finalizers", "caBundle", "volumeName"):
        spec.pop(assigned, None)
    return {**result, "spec": spec} if spec else result


def live(cluster: Cluster, collected: Collected) -> Objects:
    """Read every object of the stack from the API server."""
    (items,) = collected.clusters.values()
    wanted = [item for item in items if item.kind != "Secret"]
    listed = [
        {"apiVersion": i.manifest["apiVersion"], "kind": i.kind, "metadata": dict(i.manifest["metadata"])}
        for i in wanted
    ]
    body = json.dumps({"apiVersion": "v1", "kind": "List", "items": listed})
    found = json.loads(cluster.kubectl("get", "-f", "-", "-o", "json", stdin=body))["items"]
    assert len(found) == len(wanted) > 20
    return {
        (o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]): stripped(o) for o in found
    }


@pytest.fixture
def request_local(root: Path, cluster: Cluster) -> Iterator[RunRequest]:
    """Give the shipped stack `local` as `berth up local` runs it, but for its images; nothing is left."""
    project = load_project(root)
    config, _ = load_config(root, "local")
    models = json.loads(config["berth:models"])
    models["smollm2"]["service"]["nodePort"] = NODE_PORT
    roles = (
        *("engine-llama-cpp", "metrics-adapter", "model-server", "weights-smollm2"),
        *("prometheus", "alertmanager", "node-exporter"),
    )
    connection = {"kubeconfig": str(cluster.kubeconfig), "nodeAddress": cluster.node_address}
    more = {
        "berth:models": models,
        "berth:connections": {"local": connection},
        "berth:images": {"refs": {role: f"berth.local/{role}:none" for role in roles}},
        "berth:apiKeys": {"team": "canary-51d0f2a9c3"},
    }
    made = {**config, **{key: json.dumps(value) for key, value in more.items()}}
    until(lambda: gone(cluster))
    yield RunRequest(
        project.program, project.name, "local", made, frozenset({"berth:apiKeys"}), root=project.folder
    )
    # Without waiting, as `down` would: whoever comes next does.
    cluster.kubectl("delete", "namespace", *SPACES, "--ignore-not-found", "--wait=false")
    cluster.kubectl("delete", "secret,lease", "berth.local", "-n", "berth-system", "--ignore-not-found")
    cluster.kubectl("delete", "clusterrole,clusterrolebinding", *ROLES, "--ignore-not-found")
    cluster.kubectl("delete", "apiservice", "v1beta1.external.metrics.k8s.io", "--ignore-not-found")
    name = "berth-metrics-adapter-authentication-reader"
    cluster.kubectl("delete", "rolebinding", name, "-n", "kube-system", "--ignore-not-found")


@pytest.fixture
def never_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing: its images do not exist, so the pods never start, and that is not the question."""

    async def at_once(_desired: Any, _access: Any, after: Any, *_args: Any, **_options: Any) -> Any:
        return after

    monkeypatch.setattr(apply, "_until_ready", at_once)


@pytest.mark.usefixtures("never_ready")
async def test_helm_and_kubectl_make_the_objects_that_up_makes(
    cluster: Cluster,
    request_local: RunRequest,
    interpreter: Interpreter,
    helm: Callable[..., str],
    tmp_path: Path,
) -> None:
    planned = RunRequest(**{**vars(request_local), "offline": True})
    collected = collect(await preview(planned, interpreter=interpreter))
    chart, folder = tmp_path / "chart", tmp_path / "yaml"
    write(chart, chart_files(collected, Secrets(), Chart("berth")))
    write(folder, plain(collected, Secrets()))
    on = ("--kubeconfig", cluster.kubeconfig, "-n", "default")

    assert "STATUS: deployed" in helm("install", "rendered", chart, *on)
    by_helm = live(cluster, collected)
    for name in yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]:
        said = cluster.kubectl(
            "apply", "--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts",
            "-o", "name", "-f", str(folder / name),
        )  # fmt: skip
        assert said.strip(), name
    helm("upgrade", "rendered", chart, *on, "--set", "smollm2Autoscaler.hpa.maxReplicas=2")
    path = ("get", "hpa", "smollm2", "-n", "berth-local", "-o", "jsonpath={.spec.maxReplicas}")
    assert cluster.kubectl(*path) == "2"
    helm("uninstall", "rendered", *on, "--wait")
    until(lambda: gone(cluster))

    report = await up(request_local, interpreter=interpreter)
    assert report.ok, report.diagnostics
    by_up = live(cluster, collected)
    assert by_helm == by_up
    # kubectl, in apply order, over the very objects: taken, and nothing changes but whose they are.
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(folder))
    assert live(cluster, collected) == by_up


def test_kubectl_takes_the_files_from_nothing_in_their_order(
    cluster: Cluster, plan: Callable[..., Any], tmp_path: Path
) -> None:
    collected = collect(
        plan(
            """
            at = {"namespace": "render-order"}
            k8s.core.v1.ConfigMap("settings", metadata={"name": "settings", **at},
                                  data={"prompt": "{{ .Role }}\\n{{{x}}}\\n", "n": "1e3"})
            k8s.apiextensions.CustomResource("thing", api_version="render.example.org/v1", kind="Thing",
                metadata={"name": "first", **at}, spec={"size": 3})
            k8s.apiextensions.v1.CustomResourceDefinition("crd",
                metadata={"name": "things.render.example.org"},
                spec={"group": "render.example.org", "scope": "Namespaced",
                      "names": {"plural": "things", "singular": "thing", "kind": "Thing"},
                      "versions": [{"name": "v1", "served": True, "storage": True, "schema": {
                          "open_apiv3_schema": {"type": "object",
                                                "x-kubernetes-preserve-unknown-fields": True}}}]})
            k8s.core.v1.Namespace("space", metadata={"name": "render-order"})
            k8s.core.v1.Secret("keys", metadata={"name": "keys", "labels": {"a": "b"}, **at},
                               string_data={"team": config.require_secret("key")})
            """,
            secret={"key": "canary-51d0f2a9c3"},
        )
    )
    write(tmp_path / "out", plain(collected, Secrets("external", "vault", prefix="demo")))
    names = yaml.safe_load((tmp_path / "out" / "kustomization.yaml").read_text())["resources"]
    until(lambda: "render-order" not in cluster.kubectl("get", "namespaces", "-o", "name"))
    cluster.kubectl("apply", "--server-side", "-f", str(OPERATOR))
    cluster.kubectl("wait", "--for=condition=Established", "-f", str(OPERATOR), "--timeout=60s")
    try:
        for name in names:
            cluster.kubectl("apply", "--server-side", "--validate=strict", "-f", str(tmp_path / "out" / name))
            if "customresourcedefinition" in name:
                crd = "crd/things.render.example.org"
                cluster.kubectl("wait", "--for=condition=Established", crd, "--timeout=60s")
        where = ("-n", "render-order", "-o", "json")
        made = json.loads(cluster.kubectl("get", "configmap", "settings", *where))
        assert made["data"] == {"prompt": "{{ .Role }}\n{{{x}}}\n", "n": "1e3"}
        assert json.loads(cluster.kubectl("get", "things", "first", *where))["spec"] == {"size": 3}
        made = json.loads(cluster.kubectl("get", "externalsecrets", "keys", *where))
        assert made["spec"]["data"][0]["remoteRef"]["key"] == "demo/keys"
    finally:
        left = (
            "namespace/render-order",
            "crd/things.render.example.org",
            "crd/externalsecrets.external-secrets.io",
        )
        cluster.kubectl("delete", *left, "--ignore-not-found", "--wait=false")

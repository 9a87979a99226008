"""KEDA in place of our metrics adapter, for real: `python bench/keda.py [--bursts 3] [--wakes 3]`, as root.

Builds KEDA's operator and metrics server from their Go module (a quarter of an hour on two cores, once: they
stay in the cache), makes a cluster of its own, installs them by KEDA's own manifests, and deploys `local`
with `metricsAdapter: {mode: keda}`. Then a burst of clients, again and again: prints for each, in seconds
from its beginning, when the signal was above its target as the autoscaler is told it, when more replicas were
wanted, and when one more was ready; and from its end until one replica was left. Then the model is put behind
a router with `autoscaling.min: 0`: once KEDA has taken its last replica, one request is sent, which the
router holds; prints when a replica was wanted, and when the answer was there. With --build it only builds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from berth.cli.console import ClusterProgress, Console  # noqa: E402 - found by the line above
from berth.localcluster import Cluster, Progress, build_tool  # noqa: E402
from berth.localcluster.images import ScratchImage  # noqa: E402
from faults import asked  # noqa: E402

from tests.go_modules import fetched  # noqa: E402
from tests.monitoring.faulty import MODEL, NAMESPACE, Hook, Watched, put_behind_router, until  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

CLUSTER = "berth-bench-keda"
MODULE = "github.com/kedacore/keda/v2"
PARTS = ROOT / "bench" / "keda_parts"
PROGRAMS = {"keda-operator": "operator", "keda-metrics-apiserver": "adapter"}
"""Deployments of KEDA's manifests, and what runs in each."""
API = "/apis/external.metrics.k8s.io/v1beta1"
CLIENTS, TOKENS = 16, 48
PATIENCE = 600


def built(progress: Progress) -> tuple[Path, Path]:
    """KEDA's source, and the folder of its programs."""
    folder = fetched(MODULE, PARTS, name="keda", progress=progress)
    targets = [f"./cmd/{program}" for program in PROGRAMS.values()]
    return folder, build_tool("keda", folder, targets, expected_seconds=900, progress=progress)


def install(cluster: Cluster, folder: Path, keda: Path, programs: Path) -> None:
    """KEDA by its own manifests but for the webhooks, which only check ScaledObjects of others' making."""
    images = {
        deployment: ScratchImage(deployment, programs / program) for deployment, program in PROGRAMS.items()
    }
    for image in images.values():
        cluster.import_image(image.write(folder))
    overlay = folder / "keda"
    overlay.mkdir()
    config = os.path.relpath(keda / "config", overlay)
    parts = ("crd", "general", "rbac", "manager", "metrics-server", "service_account")
    patches = []
    for deployment, image in images.items():
        container = "/spec/template/spec/containers/0"
        changes: list[dict[str, Any]] = [
            {"op": "replace", "path": f"{container}/image", "value": image.reference},
            {"op": "replace", "path": f"{container}/imagePullPolicy", "value": "IfNotPresent"},
            {"op": "replace", "path": f"{container}/command", "value": [f"/{PROGRAMS[deployment]}"]},
        ]
        if deployment == "keda-operator":
            no_webhooks = "--enable-webhook-patching=false"
            changes.append({"op": "add", "path": f"{container}/args/-", "value": no_webhooks})
        target = {"kind": "Deployment", "name": deployment}
        patches.append({"target": target, "patch": json.dumps(changes)})
    whole = {"resources": [f"{config}/{part}" for part in parts], "patches": patches}
    (overlay / "kustomization.yaml").write_text(json.dumps(whole))
    manifests = cluster.kubectl("kustomize", str(overlay))
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=manifests)
    patience = f"--timeout={PATIENCE}s"
    for words in (
        ("deployment", "--all", "-n", "keda"),
        ("apiservice", "v1beta1.external.metrics.k8s.io"),
    ):
        cluster.kubectl("wait", "--for=condition=Available", *words, patience, timeout=PATIENCE + 30)


def deploy(cluster: Cluster, folder: Path) -> Watched:
    """The stack `local`, whose autoscaler is KEDA's."""
    made = Watched(ROOT, folder, cluster, Hook("http://127.0.0.1:9/"), delay=1)
    file = made.checkout / "stacks" / "Pulumi.local.yaml"
    content = yaml.safe_load(file.read_text())
    config = content["config"]
    monitoring = config["berth:monitoring"]
    config.pop("berth:alertSecrets")
    monitoring.pop("receivers")
    monitoring["viewers"]["namespaces"] = ["keda"]
    prometheus = "http://berth-prometheus.berth-monitoring.svc:9090"
    config["berth:metricsAdapter"] = {"mode": "keda", "prometheus": prometheus}
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    made.up()
    words = ("wait", "--for=condition=Ready", "scaledobject", MODEL, "-n", NAMESPACE)
    cluster.kubectl(*words, f"--timeout={PATIENCE}s", timeout=PATIENCE + 30)
    return made


def put_to_sleep(watched: Watched) -> None:
    """The same stack, its model behind a router that wakes it."""
    file = watched.checkout / "stacks" / "Pulumi.local.yaml"
    content = yaml.safe_load(file.read_text())
    # Not the port that its Service has until this is deployed.
    put_behind_router(content["config"], 30081)
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    watched.up()


def wake(watched: Watched) -> dict[str, float]:
    """One request to a model that sleeps: seconds until a replica is wanted, and until its answer."""
    cluster = watched.cluster
    until(lambda: replicas(cluster) == (0, 0), "no replica", PATIENCE)
    gone = ("wait", "--for=delete", "pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=model-server")
    cluster.kubectl(*gone, f"--timeout={PATIENCE}s", timeout=PATIENCE + 30)
    found: dict[str, float] = {}
    began = time.monotonic()
    with asked(watched, 1, 8) as answered:
        steps: dict[str, Callable[[], bool]] = {
            "wanted": lambda: replicas(cluster)[0] > 0,
            "ready": lambda: replicas(cluster)[1] > 0,
            "answered": answered.is_set,
        }
        while missing := steps.keys() - found:
            if time.monotonic() > began + PATIENCE:
                sys.exit(
                    f"{PATIENCE} s after a request to a model that slept: not {', '.join(sorted(missing))}"
                )
            for name in missing:
                if steps[name]():
                    found[name] = round(time.monotonic() - began, 1)
            time.sleep(0.2)
    return found


def read(cluster: Cluster, *words: str) -> dict[str, Any]:
    """What the API server says."""
    found: dict[str, Any] = json.loads(cluster.kubectl(*words))
    return found


def told(cluster: Cluster) -> float:
    """What the autoscaler is told: waiting requests, all replicas together."""
    scaled = read(cluster, "get", "scaledobject", MODEL, "-n", NAMESPACE, "-o", "json")
    metric = scaled["status"]["externalMetricNames"][0]
    query = f"labelSelector=scaledobject.keda.sh%2Fname%3D{MODEL}"
    answer = read(cluster, "get", "--raw", f"{API}/namespaces/{NAMESPACE}/{metric}?{query}")
    value = str(answer["items"][0]["value"])
    return float(value.removesuffix("m")) / 1000 if value.endswith("m") else float(value)


def replicas(cluster: Cluster) -> tuple[int, int]:
    """Replicas that are wanted, and that are ready."""
    deployment = read(cluster, "get", "deployment", MODEL, "-n", NAMESPACE, "-o", "json")
    return deployment["spec"]["replicas"], deployment["status"].get("readyReplicas", 0)


def burst(watched: Watched, target: float) -> dict[str, float]:
    """One burst: seconds from its beginning to each step, and from its end to one replica."""
    cluster = watched.cluster
    found: dict[str, float] = {}
    steps: dict[str, Callable[[], bool]] = {
        "told": lambda: told(cluster) > target,
        "wanted": lambda: replicas(cluster)[0] > 1,
        "ready": lambda: replicas(cluster)[1] > 1,
    }
    with asked(watched, CLIENTS, TOKENS):
        began = time.monotonic()
        end = began + PATIENCE
        while missing := steps.keys() - found:
            if time.monotonic() > end:
                sys.exit(f"after {PATIENCE} s of a burst not yet: {', '.join(sorted(missing))}")
            for name in missing:
                if steps[name]():
                    found[name] = round(time.monotonic() - began, 1)
            time.sleep(0.2)
    over = time.monotonic()
    until(lambda: replicas(cluster) == (1, 1), "one replica again", PATIENCE)
    return {**found, "back": round(time.monotonic() - over, 1)}


def main() -> None:
    """Build, install, measure and print; the cluster is deleted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bursts", type=int, default=3)
    parser.add_argument("--wakes", type=int, default=3)
    parser.add_argument("--build", action="store_true", help="only build KEDA")
    parser.add_argument("--cluster", default=CLUSTER)
    given = parser.parse_args()
    progress = ClusterProgress(Console(), "keda")
    keda, programs = built(progress)
    if given.build:
        return
    before = os.getloadavg()[0]
    cluster = Cluster(given.cluster)
    bursts: list[dict[str, float]] = []
    wakes: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as temporary:
        try:
            cluster.start(progress)
            install(cluster, Path(temporary), keda, programs)
            watched = deploy(cluster, Path(temporary))
            target = float(yaml.safe_load((watched.checkout / "stacks" / "Pulumi.local.yaml").read_text())
                           ["config"]["berth:models"][MODEL]["autoscaling"]["target"])  # fmt: skip
            for _ in range(given.bursts):
                bursts.append(burst(watched, target))
                print(json.dumps(bursts[-1]), flush=True)
            if given.wakes:
                put_to_sleep(watched)
            for _ in range(given.wakes):
                wakes.append(wake(watched))
                print(json.dumps(wakes[-1]), flush=True)
        finally:
            cluster.delete(progress)
    print(
        json.dumps(
            {
                "machine": platform.platform(),
                "processors": os.cpu_count(),
                "load_average": [round(before, 2), round(os.getloadavg()[0], 2)],
                "clients": CLIENTS,
                "burst_seconds": {
                    name: [one[name] for one in bursts] for name in ("told", "wanted", "ready", "back")
                },
                "wake_seconds": {
                    name: [one[name] for one in wakes] for name in ("wanted", "ready", "answered")
                },
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()

"""What stacks declare and put out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from berth_stacks import build

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECRET = "4dabf18193072939515e22adb298388d"


def test_local(run: Callable[..., Any], root: Path) -> None:
    done = run((root / "stacks/Pulumi.local.yaml").read_text())
    assert done.outputs["endpoints"] == {"local/smollm2": "http://198.18.0.2:30080"}
    assert done.outputs["namespace"] == "berth-local"
    assert done.outputs["models"]["local/smollm2"] == {
        "site": "local",
        "namespace": "berth-local",
        "service": "smollm2",
        "deployment": "smollm2",
        "autoscaler": "smollm2",
        "selector": {"app.kubernetes.io/name": "model-server", "app.kubernetes.io/instance": "smollm2"},
        "model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "endpoint": "http://198.18.0.2:30080",
        "simulatedGpus": 0,
    }
    scaler = done.one("HorizontalPodAutoscaler", "smollm2")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (1, 3)
    assert scaler["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 15
    assert [m["external"]["metric"]["name"] for m in scaler["metrics"]] == [
        "berth_queue_depth",
        "berth_running_requests",
    ]
    deployment = done.one("Deployment", "smollm2")["spec"]
    assert "replicas" not in deployment
    pod = deployment["template"]["spec"]
    cpus = [c["resources"]["requests"]["cpu"] for c in pod["containers"]]
    assert cpus == ["400m", "50m"], "three of them fit on two cores"
    service = done.one("Service", "smollm2")["spec"]
    assert (service["type"], service["ports"][0]["nodePort"]) == ("NodePort", 30080)


def test_the_weights_come_out_of_the_image_that_carries_them(run: Callable[..., Any], root: Path) -> None:
    done = run((root / "stacks/Pulumi.local.yaml").read_text())
    fetcher = done.one("Deployment", "smollm2")["spec"]["template"]["spec"]["initContainers"][0]
    assert fetcher["image"] == "berth.local/weights-smollm2:fixture"
    environment = {entry["name"]: entry["value"] for entry in fetcher["env"]}
    assert environment["BERTH_WEIGHTS_SOURCE"] == "packaged:smollm2-135m-instruct-q4_1"
    assert len(environment["BERTH_WEIGHTS_SHA256"]) == 64


def test_onprem(
    run: Callable[..., Any], root: Path, folder: Path, overlay: Callable[..., dict[str, str]]
) -> None:
    extra = overlay("onprem", registry="registry.example", digest=True)
    del extra["berth:connections"]
    today = datetime.now(UTC).date()
    (folder / "prices.yaml").write_text(
        "prices: [{ground: own, region: onprem, machine: replica, capacity: on-demand, usd_per_hour: 0.5, "
        f'source: a fixture, date: "{today}"}}]\n'
    )
    over = {"finding": "onprem/smollm2 replicas", "reason": "a fixture", "expires": "2999-12-31"}
    extra["berth:overrides"] = json.dumps([over])
    # Its own findings are looked at elsewhere.
    extra["berth:monitoring"] = json.dumps({"mode": "none"})
    done = run((root / "stacks/Pulumi.onprem.yaml").read_text(), extra, "onprem")
    (said,) = done.of("stacks:Environment")
    assert said["cost"] == {"usdPerHourFewest": 1, "usdPerHourMost": 3}
    provider = next(r.inputs for r in done.resources if r.typ == "pulumi:providers:kubernetes")
    assert provider["kubeconfig"].endswith("/.kube/config")
    assert "~" not in provider["kubeconfig"]
    assert done.one("HorizontalPodAutoscaler", "smollm2")["spec"]["minReplicas"] == 2
    assert done.one("Deployment", "berth-metrics-adapter")["spec"]["replicas"] == 2
    assert done.one("Service", "smollm2")["spec"]["loadBalancerSourceRanges"] == ["10.0.0.0/8"]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_kubeconfigs_contents_stay_as_they_are_and_secret(
    run: Callable[..., Any], root: Path, overlay: Callable[..., dict[str, str]], indent: int | None
) -> None:
    """One line of JSON, as machines write it, is no path: its "//" would become "/"."""
    clusters = [{"name": "c", "cluster": {"server": "https://198.18.0.2:6443"}}]
    contents = json.dumps({"apiVersion": "v1", "kind": "Config", "clusters": clusters}, indent=indent)
    connections = {"local": {"kubeconfig": contents, "nodeAddress": "198.18.0.2"}}
    extra = {**overlay(), "berth:connections": json.dumps(connections)}
    done = run((root / "stacks/Pulumi.local.yaml").read_text(), extra)
    provider = next(r.inputs for r in done.resources if r.typ == "pulumi:providers:kubernetes")
    assert SECRET in provider["kubeconfig"]
    assert provider["kubeconfig"]["value"] == contents


def test_the_key_is_a_secret_everywhere(run: Callable[..., Any], root: Path) -> None:
    done = run((root / "stacks/Pulumi.local.yaml").read_text())
    (secret,) = [r for r in done.resources if r.typ == "kubernetes:core/v1:Secret"]
    assert SECRET in secret.inputs["data"]
    rest = json.dumps([r.inputs for r in done.resources if r is not secret] + [done.outputs])
    assert "canary" not in rest


@pytest.mark.parametrize(
    ("weights", "storage_class"),
    [
        ({}, "of-the-pool"),
        ({"storage": "new-claim"}, "of-the-pool"),
        ({"storageClass": "ours"}, "ours"),
        ({"storage": "claim", "claimName": "there"}, None),
    ],
)
def test_a_pools_storage_class_is_for_volumes_that_are_made_and_say_nothing(
    load: Callable[..., Any], root: Path, weights: dict[str, str], storage_class: str | None
) -> None:
    text = (root / "stacks" / "Pulumi.gcp-prod.yaml").read_text()
    config = yaml.safe_load(text)["config"]
    config["berth:models"]["chat"]["weights"] = weights
    loaded = load(yaml.safe_dump({"config": config}), {}, "gcp-prod")
    at = next(one for one in build.placed(loaded.settings) if one.model_key == "chat")
    given = build.Given(build.references(loaded.settings), {}, None)
    on = build.OnPool({}, [], "of-the-pool")
    args: Any = build.server_args(loaded.settings, at, "models", given, on)
    assert args["weights"].get("storage_class") == storage_class


def test_two_sites_on_one_cluster_share_the_adapter(
    run: Callable[..., Any], root: Path, overlay: Callable[..., dict[str, str]]
) -> None:
    text = (root / "stacks/Pulumi.local.yaml").read_text()
    text = text.replace(
        "local: {}", "local: {}\n    second: {namespace: second, nodeSelector: {pool: second}}"
    )
    text = text.replace("sites: [local]", "sites: [local, second]").replace("nodePort: 30080", "port: 8080")
    site = json.loads(overlay()["berth:connections"])["local"]
    extra = {**overlay(), "berth:connections": json.dumps({"local": site, "second": site})}
    done = run(text, extra)
    names = [r.name for r in done.resources if r.typ == "berth:metrics:MetricsAdapter"]
    assert names == ["local-metrics-adapter"]
    spaces = {
        o["metadata"]["namespace"]
        for o in done.objects
        if o["metadata"]["name"] == "smollm2" and o["kind"] == "Service"
    }
    assert spaces == {"berth-local", "second"}
    assert len(
        {(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in done.objects}
    ) == len(done.objects)


def test_a_simulated_gpu_is_called_simulated(
    run: Callable[..., Any], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("pulumi.log.info", lambda text, **_: said.append(text))
    text = (root / "stacks/Pulumi.local.yaml").read_text().replace("local: {}", "local: {simulatedGpus: 3}")
    text = text.replace("      weights:", "      gpu: {count: 1}\n      weights:")
    done = run(text)
    assert done.outputs["models"]["local/smollm2"]["simulatedGpus"] == 1
    assert done.one("Deployment", "smollm2")["spec"]["template"]["metadata"]["labels"][
        "berth.dev/simulated-gpu"
    ]
    assert "simulated" in said[0]


@pytest.mark.parametrize(
    ("service", "endpoint"),
    [
        ("{}", "http://smollm2.berth-local.svc:80"),
        ("{port: 8080}", "http://smollm2.berth-local.svc:8080"),
        ("{type: NodePort}", "http://198.18.0.2:<assigned when it is created>"),
        ("{type: LoadBalancer}", "http://<assigned when it is created>"),
    ],
)
def test_endpoints(run: Callable[..., Any], root: Path, service: str, endpoint: str) -> None:
    text = (root / "stacks/Pulumi.local.yaml").read_text()
    head, _, rest = text.partition("      service:\n")
    text = f"{head}      service: {service}\n      termination:{rest.partition('      termination:')[2]}"
    assert run(text).outputs["endpoints"] == {"local/smollm2": endpoint}

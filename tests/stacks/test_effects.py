"""No setting is without effect: changing any one changes an object, or the sentence says why not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, get_args

import pytest
import yaml
from berth_stacks.settings import Settings, Stack

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]
MODEL = "models.chat"
RENDERED: dict[str, str] = {}
RESOURCES = {"cpuRequest": "100m", "memoryRequest": "64Mi", "memoryLimit": "256Mi"}
BASE: Json = {
    "environment": "local",
    "sites": {"here": {"cluster": {"kubeconfig": "k"}, "nodeAddress": "198.18.0.2"}},
    "clients": {"cidrs": ["10.0.0.0/8"]},
    "models": {
        "chat": {
            "model": "smollm2-135m-instruct-q4_1",
            "sites": ["here"],
            "engine": {"resources": dict(RESOURCES)},
            "concurrency": {"slots": 2, "maxConcurrentRequests": 8},
            "tokens": {"maxInput": 100, "maxTotal": 200},
            "autoscaling": {"max": 3},
        }
    },
}
FIXED = {f"{MODEL}.autoscaling": None, f"{MODEL}.replicas": 1}
NODE_PORT = {f"{MODEL}.service": {"type": "NodePort"}}
TAINT = {"key": "spot", "effect": "NoSchedule"}

# Every setting: another value, and what else that needs before and after.
OTHER: dict[str, tuple[Any, Json]] = {
    "environment": ("", {}),
    "namespace": ("elsewhere", {}),
    "apiKeysSecret": ("keys", {}),
    "metricsNamespaces": (["monitoring"], {}),
    "clients.cidrs": (["10.1.0.0/16"], {}),
    "clients.namespaces": (["apps"], {}),
    "clients.publicReason": ("a demonstration", {}),
    "images.refs": ({}, {}),
    "images.registry": ("", {}),
    "images.pullSecrets": (["registry"], {}),
    "metricsAdapter.mode": ("existing", {}),
    "metricsAdapter.namespace": ("signals", {}),
    "metricsAdapter.replicas": (2, {}),
    "metricsAdapter.apiServerCidrs": (["198.18.0.1/32"], {}),
    "sites.*.cluster.kubeconfig": ("other", {}),
    "sites.*.cluster.context": ("other", {}),
    "sites.*.nodeAddress": ("198.18.0.3", NODE_PORT),
    "sites.*.namespace": ("elsewhere", {}),
    "sites.*.simulatedGpus": (9, {}),
    "sites.*.nodeSelector": ({"pool": "a"}, {}),
    "sites.*.tolerations": ([TAINT], {}),
    "models.*.model": ("", {}),
    "models.*.sites": ([], {}),
    "models.*.engine.name": ("", {}),
    "models.*.engine.threads": (3, {}),
    "models.*.replicas": (2, FIXED),
    "models.*.variant": ("canary", {}),
    "models.*.gateway.payloadLimitBytes": (4096, {}),
    "models.*.gateway.maxStopSequences": (2, {}),
    "models.*.gateway.logLevel": ("debug", {}),
    "models.*.gpu.count": (1, {"sites.here.simulatedGpus": 9, f"{MODEL}.gpu": {"count": 2}}),
    "models.*.gpu.resource": ("amd.com/gpu", {"sites.here.simulatedGpus": 9, f"{MODEL}.gpu": {"count": 2}}),
    "models.*.weights.storage": ("new-claim", {}),
    "models.*.weights.size": ("2Gi", {}),
    "models.*.weights.storageClass": ("fast", {}),
    "models.*.weights.accessMode": ("ReadWriteOnce", {**FIXED, f"{MODEL}.weights": {"storage": "new-claim"}}),
    "models.*.weights.claimName": (
        "b",
        {f"{MODEL}.weights": {"storage": "claim", "claimName": "a"}},
    ),
    "models.*.placement.nodeSelector": ({"pool": "b"}, {}),
    "models.*.placement.tolerations": ([TAINT], {}),
    "models.*.placement.priorityClass": ("serving", {}),
    "models.*.placement.runtimeClass": ("nvidia", {}),
    "models.*.placement.spread": ("required", {}),
    "models.*.service.type": ("LoadBalancer", {}),
    "models.*.service.port": (8080, {}),
    "models.*.service.nodePort": (30081, NODE_PORT),
    "models.*.service.externalTrafficPolicy": ("Cluster", NODE_PORT),
    "models.*.service.annotations": ({"example.com/internal": "true"}, {}),
    "models.*.termination.preStopSeconds": (3, {}),
    "models.*.termination.drainSeconds": (3, {}),
    "models.*.termination.graceSeconds": (333, {}),
    "models.*.probes.startupSeconds": (300, {}),
    "models.*.probes.measuredLoadSeconds": (100.5, {}),
    "models.*.probes.readinessPeriodSeconds": (9, {}),
    "models.*.probes.livenessPeriodSeconds": (9, {}),
    "models.*.rollout.maxSurge": (2, {}),
    "models.*.rollout.maxUnavailable": (1, {}),
    "models.*.concurrency.slots": (1, {}),
    "models.*.concurrency.maxConcurrentRequests": (9, {}),
    "models.*.concurrency.queueTimeoutSeconds": (9, {}),
    "models.*.tokens.maxInput": (50, {}),
    "models.*.tokens.maxTotal": (300, {}),
    "models.*.autoscaling.max": (4, {}),
    "models.*.autoscaling.min": (2, {}),
    "models.*.autoscaling.metric": ("cpu", {}),
    "models.*.autoscaling.target": (9, {}),
    "models.*.autoscaling.runningTarget": (9, {}),
    **{
        f"models.*.autoscaling.{way}.{key}": (7, {})
        for way in ("scaleUp", "scaleDown")
        for key in ("windowSeconds", "pods", "periodSeconds")
    },
    **{
        f"models.*.{part}.resources.{key}": (value, {f"{MODEL}.{part}.resources": RESOURCES})
        for part in ("engine", "gateway", "weights")
        for key, value in {
            "cpuRequest": "50m",
            "cpuLimit": "1",
            "memoryRequest": "32Mi",
            "memoryLimit": "512Mi",
        }.items()
    },
    **{
        f"{place}.tolerations.*.{key}": (
            {"sites.*": "sites.here", "models.*.placement": f"{MODEL}.placement"}[place],
            {key: value},
        )
        for place in ("sites.*", "models.*.placement")
        for key, value in {"key": "other", "value": "yes", "effect": "NoExecute"}.items()
    },
}
# What another value cannot show here.
ELSEWHERE = {
    "environment": "it decides what is refused: test_wrong_settings.py, and replicas of the adapter below",
    "apiKeysSecret": "instead of apiKeys: test_a_secret_that_exists",
    "images.refs": "test_images",
    "images.registry": "it must lead every reference: test_wrong_settings.py",
    "models.*.model": "the catalogue has one; others are refused: test_wrong_settings.py",
    "models.*.sites": "test_program.py, with two sites",
    "models.*.engine.name": "the catalogue has one; others are refused: test_wrong_settings.py",
    "sites.*.simulatedGpus": "a limit: test_wrong_settings.py, and test_program.py for the label",
    "clients.publicReason": "it annotates the Service for reviewers, and allows 0.0.0.0/0",
}


def _leaves(group: type[Settings], path: str = "") -> set[str]:
    found = set()
    for name, field in group.model_fields.items():
        where = f"{path}{field.alias or name}"
        kinds = [
            kind for kind in _parts(field.annotation) if isinstance(kind, type) and issubclass(kind, Settings)
        ]
        if not kinds:
            found.add(where)
            continue
        listed = str(field.annotation).startswith(("dict", "list"))
        found |= _leaves(kinds[0], f"{where}.*." if listed else f"{where}.")
        if str(field.annotation).startswith("list"):
            found.add(where)
    return found


def _parts(annotation: Any) -> list[Any]:
    return [annotation, *(part for inner in get_args(annotation) for part in _parts(inner))]


def _with(settings: Json, changes: Json) -> Json:
    settings = json.loads(json.dumps(settings))
    for path, value in changes.items():
        *groups, key = path.split(".")
        place = settings
        for group in groups:
            place = place.setdefault(group, {})
        if value is None:
            place.pop(key, None)
        else:
            place[key] = json.loads(json.dumps(value))
    return settings


@pytest.fixture
def objects(run: Callable[..., Any], overlay: Callable[..., dict[str, str]]) -> Callable[[Json], str]:
    """Everything that a stack of these settings registers, labels and annotations of objects left out."""

    def render(changes: Json) -> str:
        key = json.dumps(changes, sort_keys=True)
        if key in RENDERED:
            return RENDERED[key]
        config = {f"berth:{key}": value for key, value in _with(BASE, changes).items()}
        images = json.loads(overlay()["berth:images"])
        config["berth:images"] = {**images, **config.get("berth:images", {})}
        extra = {"berth:apiKeys": overlay()["berth:apiKeys"]}
        done = run(yaml.safe_dump({"config": config}), extra)
        resources = [(r.typ, r.name, json.loads(json.dumps(r.inputs))) for r in done.resources]
        for _, _, inputs in resources:
            inputs.get("metadata", {}).pop("labels", None)
        RENDERED[key] = json.dumps([sorted(resources, key=lambda r: r[:2]), done.outputs], sort_keys=True)
        return RENDERED[key]

    return render


def test_every_setting_is_in_the_table() -> None:
    assert OTHER.keys() == _leaves(Stack)
    assert ELSEWHERE.keys() <= OTHER.keys()


@pytest.mark.parametrize(
    "path", [path for path in OTHER if path not in ELSEWHERE and ".tolerations.*." not in path]
)
def test_another_value_changes_an_object(objects: Callable[[Json], str], path: str) -> None:
    value, needs = OTHER[path]
    real = path.replace("sites.*", "sites.here").replace("models.*", MODEL)
    assert objects(needs) != objects({**needs, real: value})


@pytest.mark.parametrize("path", [path for path in OTHER if ".tolerations.*." in path])
def test_another_toleration(objects: Callable[[Json], str], path: str) -> None:
    place, change = OTHER[path]
    key = f"{place}.tolerations"
    assert objects({key: [TAINT]}) != objects({key: [{**TAINT, **change}]})


def test_production_has_two_adapters(run: Callable[..., Any], overlay: Callable[..., dict[str, str]]) -> None:
    config = {f"berth:{key}": value for key, value in _with(BASE, {f"{MODEL}.autoscaling.min": 2}).items()}
    config["berth:environment"] = "production"
    images = overlay(registry="registry.example", digest=True)["berth:images"]
    extra = {"berth:apiKeys": overlay()["berth:apiKeys"], "berth:images": images}
    done = run(yaml.safe_dump({"config": config}), extra)
    assert done.one("Deployment", "berth-metrics-adapter")["spec"]["replicas"] == 2


def test_a_secret_that_exists(run: Callable[..., Any], overlay: Callable[..., dict[str, str]]) -> None:
    config = {f"berth:{key}": value for key, value in BASE.items()}
    config["berth:apiKeysSecret"] = "keys"
    done = run(yaml.safe_dump({"config": config}), {"berth:images": overlay()["berth:images"]})
    assert not [o for o in done.objects if o["kind"] == "Secret"]
    volumes = done.one("Deployment", "chat")["spec"]["template"]["spec"]["volumes"]
    assert {"name": "api-keys", "secret": {"secretName": "keys", "defaultMode": 0o440}} in volumes


def test_images(run: Callable[..., Any], overlay: Callable[..., dict[str, str]]) -> None:
    config = {f"berth:{key}": value for key, value in BASE.items()}
    refs = {role: f"registry.example/{role}:7" for role in json.loads(overlay()["berth:images"])["refs"]}
    extra = {**overlay(), "berth:images": json.dumps({"refs": refs})}
    del extra["berth:connections"]
    done = run(yaml.safe_dump({"config": config}), extra)
    pods = [o["spec"]["template"]["spec"] for o in done.objects if o["kind"] == "Deployment"]
    used = {c["image"] for pod in pods for c in [*pod.get("initContainers", []), *pod["containers"]]}
    assert used == set(refs.values())

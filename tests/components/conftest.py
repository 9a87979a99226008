"""Programs of components, run without an engine; what they register is looked at as Kubernetes objects."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pulumi
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]
SECRET_SIGNATURE = "4dabf18193072939515e22adb298388d"


@dataclass
class Rendered(pulumi.runtime.Mocks):
    """What a program registered."""

    resources: list[pulumi.runtime.MockResourceArgs] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, Json]:
        self.resources.append(args)
        return f"{args.name}-id", copy.deepcopy(args.inputs)

    def call(self, args: pulumi.runtime.MockCallArgs) -> tuple[Json, None]:
        raise AssertionError(f"a component must not look anything up: {args.token}")

    @property
    def objects(self) -> list[Json]:
        """The Kubernetes objects, as manifests."""
        return [without_none(unwrap(r.inputs)) for r in self.resources if r.typ.startswith("kubernetes:")]

    def one(self, kind: str, name: str | None = None) -> Json:
        found = [o for o in self.objects if o["kind"] == kind and name in {None, o["metadata"]["name"]}]
        assert len(found) == 1, f"{len(found)} objects of kind {kind} {name or ''}"
        return found[0]

    @property
    def pods(self) -> list[Json]:
        """The pod specs of all workloads."""
        return [o["spec"]["template"]["spec"] for o in self.objects if o["kind"] == "Deployment"]


def unwrap(value: Any) -> Any:
    """A value without the envelopes of secrets."""
    if isinstance(value, dict):
        if SECRET_SIGNATURE in value:
            return unwrap(value["value"])
        return {key: unwrap(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unwrap(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    return [without_none(item) for item in value] if isinstance(value, list) else value


@pytest.fixture
def render(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], Rendered]:
    """Runs a program and gives what it registered."""

    def run(program: Callable[[], object]) -> Rendered:
        rendered = Rendered()
        monkeypatch.setattr(pulumi.log, "warn", lambda text, **_: rendered.warnings.append(text))
        pulumi.runtime.set_mocks(rendered, project="berth", stack="test", preview=False)
        pulumi.runtime.test(program)()
        return rendered

    return run


BASE: Json = {
    "namespace": "room",
    "model": {"key": "tiny", "id": "example/tiny", "revision": "sha256:abc"},
    "weights": {
        "image": "registry.example/weights:1",
        "source": "packaged:tiny",
        "file": "tiny.gguf",
        "sha256": "a" * 64,
    },
    "engine": {
        "name": "llama.cpp",
        "image": "registry.example/engine:1",
        "resources": {
            "cpu_request": "1",
            "cpu_limit": "2",
            "memory_request": "1Gi",
            "memory_limit": "2Gi",
        },
    },
    "gateway": {"image": "registry.example/gateway:1"},
    "concurrency": {"slots": 4, "max_concurrent_requests": 16},
    "tokens": {"max_input": 512, "max_total": 1024},
    "access": {"client_cidrs": ["10.0.0.0/8"], "metrics_namespaces": ["berth-metrics"]},
    "replicas": 2,
    "api_keys": {"team-a": "canary-0123456789abcdef"},
}


def changed(changes: Json) -> Json:
    """The base args with changes by dotted path; None takes one away."""
    args = copy.deepcopy(BASE)
    for path, value in changes.items():
        *groups, key = path.split(".")
        place = args
        for group in groups:
            place = place.setdefault(group, {})
        if value is None:
            place.pop(key, None)
        else:
            place[key] = copy.deepcopy(value) if isinstance(value, dict) else value
    return args


@pytest.fixture
def serve(render: Callable[[Callable[[], object]], Rendered]) -> Callable[..., Rendered]:
    """Renders a model server whose args are the base with changes by dotted path."""
    from berth_components import ModelServer  # noqa: PLC0415 - after the runtime's settings

    def run(changes: Json | None = None, name: str = "chat") -> Rendered:
        return render(lambda: ModelServer(name, changed(changes or {})))

    return run


@pytest.fixture
def base_args() -> Callable[[Json], Json]:
    """The base args with changes by dotted path."""
    return changed


@pytest.fixture(autouse=True)
def _loop(pulumi_loop: None) -> None:
    """Let every test here run Pulumi programs, whichever tests ran before."""

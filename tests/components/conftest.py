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
        pulumi.runtime.test(lambda: program() and None)()
        return rendered

    return run

"""Stacks, run from settings without an engine."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi.runtime.config
import pytest
import yaml
from berth_stacks import program

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

Json = dict[str, Any]
API_KEY = "canary-0123456789abcdef"
ROLES = ("model-server", "engine-llama-cpp", "weights-smollm2", "metrics-adapter")
DIGEST = "sha256:" + "a" * 64  # a fixture: no such image exists


@dataclass
class Run(pulumi.runtime.Mocks):
    """What a stack registered and put out."""

    resources: list[pulumi.runtime.MockResourceArgs] = field(default_factory=list)
    outputs: Json = field(default_factory=dict)

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, Json]:
        self.resources.append(args)
        return f"{args.name}-id", dict(args.inputs)

    def call(self, args: pulumi.runtime.MockCallArgs) -> tuple[Json, None]:
        raise AssertionError(f"a stack must not look anything up: {args.token}")

    @property
    def objects(self) -> list[Json]:
        return [json.loads(json.dumps(r.inputs)) for r in self.resources if r.typ.startswith("kubernetes:")]

    def one(self, kind: str, name: str) -> Json:
        found = [o for o in self.objects if o["kind"] == kind and o["metadata"]["name"] == name]
        assert len(found) == 1, [(o["kind"], o["metadata"]["name"]) for o in self.objects]
        return found[0]


def _overlay(site: str = "local", *, registry: str = "berth.local", digest: bool = False) -> dict[str, str]:
    """What the command lays over a stack's file."""
    version = f"@{DIGEST}" if digest else ":fixture"
    refs = {role: f"{registry}/{role}{version}" for role in ROLES}
    connections = {site: {"kubeconfig": "fixture.kubeconfig", "nodeAddress": "198.18.0.2"}}
    return {
        "berth:connections": json.dumps(connections),
        "berth:images": json.dumps({"refs": refs}),
        "berth:apiKeys": json.dumps({"tester": API_KEY}),
    }


def config_of(file: Path) -> dict[str, str]:
    """A stack file's settings as Pulumi hands them to a program."""
    config = yaml.safe_load(file.read_text())["config"]
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Runs a stack whose file has the given text; `extra` is laid over it."""
    monkeypatch.delenv("PULUMI_CONFIG", raising=False)

    def start(
        text: str,
        extra: Mapping[str, str] | None = None,
        stack: str = "local",
        secret: Sequence[str] = ("berth:apiKeys",),
    ) -> Run:
        file = tmp_path / f"Pulumi.{stack}.yaml"
        file.write_text(text)
        done = Run()
        pulumi.runtime.set_mocks(done, project="berth", stack=stack, preview=False)
        given = _overlay() if extra is None else extra
        pulumi.runtime.set_all_config({**config_of(file), **given}, [*secret])

        def stack_program() -> pulumi.Output[None]:
            exported: Json = {}
            monkeypatch.setattr(pulumi, "export", exported.__setitem__)
            program.main(tmp_path)
            return pulumi.Output.from_input(exported).apply(done.outputs.update)

        pulumi.runtime.test(stack_program)()
        return done

    return start


@pytest.fixture
def overlay() -> Callable[..., dict[str, str]]:
    """What the command lays over a stack's file."""
    return _overlay


@pytest.fixture(autouse=True)
def _loop(pulumi_loop: None) -> None:
    """Let every test here run Pulumi programs, whichever tests ran before."""

"""A project, a stand-in `pulumi` on PATH, and the events that it sends."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from berth import automation
from berth.deployer import Interpreter, RunRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STACK_FILE = """\
# What the team wrote, comments included.
encryptionsalt: v1:c2FsdA==:v1:bm9uY2U=:cHJvb2Y=
config:
  demo:greeting: hello
  demo:zone: "012"   # text that looks like a number
  demo:nested: {a: [1, 2.50, yes], b: ~}
"""
PROGRAM = "import pulumi\npulumi.export('greeting', pulumi.Config().require('greeting'))\n"
DEPLOYMENT = "kubernetes:apps/v1:Deployment"
CLUSTER = "aws:eks/cluster:Cluster"
STACK_URN = "urn:pulumi:dev::demo::pulumi:pulumi:Stack::demo-dev"
WEB = f"urn:pulumi:dev::demo::demo:app:App${DEPLOYMENT}::web"


class World:
    """One project, one backend."""

    def __init__(self, folder: Path, interpreter: Interpreter) -> None:
        self.interpreter = interpreter
        shared = {"interpreter": interpreter}
        self.preview = partial(automation.preview, **shared)
        self.up = partial(automation.up, **shared)
        self.down = partial(automation.down, **shared)
        self.project = folder / "project"
        self.home = folder / "stand-in"
        self.scenario: dict[str, Any] = {}

    def knows(self, stack: str = "dev", outputs: dict[str, Any] | None = None) -> None:
        """Let the backend have a stack."""
        (self.home / "backend.json").write_text(json.dumps({stack: {"outputs": outputs or {}}}))

    def set(self, **scenario: Any) -> None:
        """Say what the stand-in does: events by operation, `mistakes`, `outputs`, `version`."""
        self.scenario |= scenario
        (self.home / "scenario.json").write_text(json.dumps(self.scenario))

    def asked(self) -> list[dict[str, Any]]:
        """What the stand-in was asked, oldest first."""
        path = self.home / "asked.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def operations(self) -> list[dict[str, Any]]:
        """The operations it was asked for, with the configuration that each had."""
        return [entry for entry in self.asked() if "operation" in entry]

    def request(
        self,
        config: dict[str, str] | None = None,
        secret: tuple[str, ...] = (),
        stack: str = "dev",
        **options: Any,
    ) -> RunRequest:
        """Name the program, as the command line would."""
        program = self.project / "app"
        return RunRequest(
            program, "demo", stack, config or {}, frozenset(secret), root=self.project, **options
        )

    def there(self, path: str) -> bool:
        """Whether a path from a command line is still there."""
        return Path(path).exists()

    @property
    def stack_file(self) -> Path:
        """The user's file."""
        return self.project / "stacks" / "Pulumi.dev.yaml"


@pytest.fixture(scope="session")
def interpreter() -> Iterator[Interpreter]:
    """Share one warm Python: it runs the program to learn its clusters."""
    made = Interpreter()
    yield made
    made.close()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interpreter: Interpreter) -> World:
    """Make the project, and put the stand-in on PATH."""
    made = World(tmp_path, interpreter)
    for folder in (made.home / "bin", made.project / "app", made.stack_file.parent):
        folder.mkdir(parents=True)
    (made.project / "Pulumi.yaml").write_text(
        "name: demo\nruntime: python\nmain: app\nstackConfigDir: stacks\n"
    )
    made.stack_file.write_text(STACK_FILE)
    (made.project / "app" / "__main__.py").write_text(PROGRAM)
    executable = made.home / "bin" / "pulumi"
    stand_in = Path(__file__).with_name("stand_in_pulumi.py")
    executable.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{stand_in}" "$@"\n')
    executable.chmod(0o755)
    monkeypatch.setenv("PATH", f"{executable.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN", str(made.home))
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE", raising=False)
    made.set()
    return made


def state(urn: str, **fields: Any) -> dict[str, Any]:
    """Describe a resource as an engine event does."""
    type_ = urn.split("::")[2].rpartition("$")[2]
    return {
        "type": type_,
        "urn": urn,
        "id": "",
        "parent": "" if urn == STACK_URN else STACK_URN,
        "provider": "",
        "inputs": {},
        "outputs": {},
        "custom": not type_.startswith(("pulumi:pulumi:", "demo:")),
        **fields,
    }


def metadata(op: str, urn: str, old: Any = None, new: Any = None, **fields: Any) -> dict[str, Any]:
    """Describe a step."""
    type_ = urn.split("::")[2].rpartition("$")[2]
    return {"op": op, "urn": urn, "type": type_, "provider": "", "old": old, "new": new, **fields}


@pytest.fixture
def step() -> Callable[..., list[dict[str, Any]]]:
    """Give the two events of one step that goes well."""

    def make(op: str, urn: str, old: Any = None, new: Any = None, **fields: Any) -> list[dict[str, Any]]:
        about = metadata(op, urn, old, new, **fields)
        return [{"resourcePreEvent": {"metadata": about}}, {"resOutputsEvent": {"metadata": about}}]

    return make


@pytest.fixture
def describe() -> Callable[..., dict[str, Any]]:
    """Give `state`."""
    return state

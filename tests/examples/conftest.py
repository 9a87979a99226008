"""The example programs, planned by the deployer."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from berth.deployer import Interpreter, Report, RunRequest, load_config, load_project, preview

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

KEY = "0123456789abcdef0123456789abcdef"
T = TypeVar("T")
SECRETS = {"in-your-program": "modelKey", "own-node-pool": "apiKey", "own-engine": "apiKey"}


def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end on a loop of its own: `asyncio.run` would take away that of the components' tests."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


@pytest.fixture(scope="session")
def interpreter() -> Iterator[Interpreter]:
    """Share one warm Python."""
    made = Interpreter()
    yield made
    made.close()


@pytest.fixture
def request_for(root: Path) -> Callable[..., RunRequest]:
    """Give the request of an example's stack dev, with its secret set."""

    def make(name: str, **config: str) -> RunRequest:
        project = load_project(root / "examples" / name)
        values, secret = load_config(project.folder, "dev")
        own = {f"{project.name}:{key}": value for key, value in {SECRETS[name]: KEY, **config}.items()}
        secrets = secret | {f"{project.name}:{SECRETS[name]}"}
        request = RunRequest(project.program, project.name, "dev", {**values, **own}, secrets)
        return dataclasses.replace(request, root=project.folder)

    return make


@pytest.fixture
def planned(request_for: Any, interpreter: Interpreter) -> Callable[..., Report]:
    """Preview an example offline."""

    def run(name: str, **config: str) -> Report:
        request = dataclasses.replace(request_for(name, **config), offline=True)
        return run_apart(preview(request, interpreter=interpreter))

    return run

"""Plans of small programs and of every shipped stack, made offline by the deployer."""

from __future__ import annotations

import asyncio
import textwrap
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from berth.deployer import Interpreter, Report, RunRequest, load_config, load_project, preview, previews

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

CLOUDS = ("pulumi_aws.ec2", "pulumi_aws.eks", "pulumi_aws.iam", "pulumi_gcp.container", "pulumi_kubernetes")
T = TypeVar("T")


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
    made = Interpreter(preload=CLOUDS)
    yield made
    made.close()


@pytest.fixture
def plan(tmp_path: Path, interpreter: Interpreter) -> Callable[..., Report]:
    """Plan a program."""

    def run(body: str, **config: Any) -> Report:
        (tmp_path / "__main__.py").write_text("import pulumi\n" + textwrap.dedent(body))
        request = RunRequest(tmp_path, "demo", "dev", config, offline=True)
        report = run_apart(preview(request, interpreter=interpreter))
        assert not report.errors, report.errors
        return report

    return run


@pytest.fixture(scope="session")
def shipped(root: Path, interpreter: Interpreter) -> dict[str, Report]:
    """Plan every stack that the repository ships, as `berth preview --all` does."""
    project = load_project(root)
    names = sorted(path.name[7:-5] for path in project.stack_folder.glob("Pulumi.*.yaml"))
    requests = []
    for name in names:
        config, secret = load_config(root, name)
        requests.append(
            RunRequest(project.program, project.name, name, config, secret, root=project.folder, offline=True)
        )
    reports = run_apart(previews(requests, interpreter=interpreter))
    return dict(zip(names, reports, strict=True))

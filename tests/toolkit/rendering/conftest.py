"""Plans of small programs and of the shipped stacks, and Helm, built from its Go module."""

from __future__ import annotations

import asyncio
import json
import subprocess
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from berth.deployer import Interpreter, Report, RunRequest, load_config, load_project, preview, previews
from berth.localcluster import build_tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from berth.rendering import Collected

MODULE = Path(__file__).parent / "helm"
Objects = dict[tuple[str, str, str], dict[str, Any]]
CLOUDS = ("pulumi_aws.ec2", "pulumi_aws.eks", "pulumi_aws.iam", "pulumi_gcp.container", "pulumi_kubernetes")
HEAD = """
import pulumi
import pulumi_kubernetes as k8s
config = pulumi.Config()
"""


def run_apart(work: Any) -> Any:
    """Run to the end on a loop of its own: `asyncio.run` would take away that of the components' tests."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


@pytest.fixture(scope="session")
def by_key() -> Callable[[str], Objects]:
    """Give the objects in YAML by kind, namespace and name."""

    def read(text: str) -> Objects:
        found = [one for one in yaml.safe_load_all(text) if one]
        return {(o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]): o for o in found}

    return read


@pytest.fixture(scope="session")
def wanted() -> Callable[[Collected], Objects]:
    """Give the objects of a stack on one cluster by the same keys, its Secrets left out."""

    def objects(collected: Collected) -> Objects:
        (items,) = collected.clusters.values()
        return {(i.kind, i.namespace, i.name): i.manifest for i in items if i.kind != "Secret"}

    return objects


@pytest.fixture(scope="session")
def interpreter() -> Iterator[Interpreter]:
    """Share one warm Python."""
    made = Interpreter(preload=("pulumi_kubernetes",))
    yield made
    made.close()


@pytest.fixture
def plan(tmp_path: Path, interpreter: Interpreter) -> Callable[..., Report]:
    """Plan a program offline; words in `secret` are configuration."""

    def run(body: str, stack: str = "dev", secret: dict[str, str] | None = None, **config: str) -> Report:
        folder = tmp_path / "program"
        folder.mkdir(exist_ok=True)
        (folder / "__main__.py").write_text(HEAD + textwrap.dedent(body))
        hidden = {f"demo:{key}": value for key, value in (secret or {}).items()}
        known = {f"demo:{key}": value for key, value in config.items()}
        request = RunRequest(folder, "demo", stack, {**known, **hidden}, frozenset(hidden), offline=True)
        report: Report = run_apart(preview(request, interpreter=interpreter))
        return report

    return run


def on_this_machine(
    kubeconfig: str = "/no/kubeconfig", address: str = "198.18.0.1", sites: Sequence[str] = ("local",)
) -> dict[str, str]:
    """Give what `berth up local` fills in: where the clusters are, their images, a key."""
    roles = ("engine-llama-cpp", "metrics-adapter", "model-server", "weights-smollm2")
    there = {
        site: {"kubeconfig": kubeconfig if site == "local" else f"/no/{site}", "nodeAddress": address}
        for site in sites
    }
    return {
        "berth:connections": json.dumps(there),
        "berth:images": json.dumps({"refs": {role: f"berth.local/{role}:not-built-yet" for role in roles}}),
        "berth:apiKeys": json.dumps({"team": "canary-51d0f2a9c3"}),
    }


@pytest.fixture(scope="session")
def shipped(root: Path) -> dict[str, Report]:
    """Plan every stack that the repository ships."""
    project = load_project(root)
    names = sorted(path.name[7:-5] for path in project.stack_folder.glob("Pulumi.*.yaml"))
    requests = []
    for name in names:
        config, secret = load_config(root, name)
        if name.startswith("local"):
            sites = list(json.loads(config["berth:sites"]))
            config, secret = {**config, **on_this_machine(sites=sites)}, frozenset({"berth:apiKeys"})
        requests.append(
            RunRequest(project.program, project.name, name, config, secret, root=project.folder, offline=True)
        )
    warm = Interpreter(preload=CLOUDS)  # importing these in each stack's own process would take the longest
    try:
        reports = run_apart(previews(requests, interpreter=warm))
    finally:
        warm.close()
    return dict(zip(names, reports, strict=True))


@pytest.fixture(scope="session")
def helm() -> Callable[..., str]:
    """Run a real Helm: 30 s to build after Kubernetes was, from an empty cache about 3 minutes."""
    folder = build_tool("helm", MODULE, ["helm.sh/helm/v3/cmd/helm"], expected_seconds=60)

    def run(*words: str | Path, fails: bool = False) -> str:
        done = subprocess.run(
            [folder / "helm", *words], capture_output=True, text=True, check=False, timeout=180
        )
        assert bool(done.returncode) == fails, f"helm {words}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout + (done.stderr if fails else "")

    return run

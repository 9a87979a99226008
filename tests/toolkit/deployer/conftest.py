"""What the deployer's tests share: programs written on the spot, requests, unique names."""

from __future__ import annotations

import json
import secrets
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
from berth.deployer import Interpreter, PolicyPack, Report, RunRequest, down, preview, up

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from berth.localcluster import Cluster

HEAD = """
import pulumi
import pulumi_kubernetes as k8s
config = pulumi.Config()
"""
PACK_HEAD = """
import json, os, sys, time
import pulumi
from pulumi_policy import *

MANDATORY, ADVISORY = EnforcementLevel.MANDATORY, EnforcementLevel.ADVISORY
REMEDIATE, DISABLED = EnforcementLevel.REMEDIATE, EnforcementLevel.DISABLED

def each(check, level=ADVISORY, name=None, **options):
    called = name or check.__name__.replace("_", "-")
    return ResourceValidationPolicy(called, f"About {called}.", check, level, **options)

def whole(check, level=ADVISORY):
    called = check.__name__.replace("_", "-")
    return StackValidationPolicy(called, f"About {called}.", check, level)

def fix(change, level=REMEDIATE):
    called = change.__name__.replace("_", "-")
    return ResourceValidationPolicy(called, f"About {called}.", enforcement_level=level, remediate=change)
"""
OWN_NAMESPACE = """
name += "-own"
space = k8s.core.v1.Namespace("space", metadata={"name": name}, opts=on)
"""
ON_CLUSTER = (
    HEAD
    + """
provider = k8s.Provider("here", kubeconfig=config.require("kubeconfig"))
on = pulumi.ResourceOptions(provider=provider)
name = config.require("namespace")

def configmap(key, data, **options):
    merged = pulumi.ResourceOptions.merge(on, pulumi.ResourceOptions(**options))
    return k8s.core.v1.ConfigMap(key, metadata={"name": key, "namespace": name}, data=data, opts=merged)
"""
)


@pytest.fixture(scope="session")
def interpreter() -> Iterator[Interpreter]:
    """Share one warm Python: importing the SDK for every run would take most of the time."""
    made = Interpreter()
    yield made
    made.close()


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Write a program; the SDK is imported already, `config` is there."""

    def write(body: str, head: str = HEAD) -> Path:
        folder = tmp_path / "program"
        folder.mkdir(exist_ok=True)
        (folder / "__main__.py").write_text(head + textwrap.dedent(body))
        return folder

    return write


@pytest.fixture
def offline(write: Callable[[str], Path], interpreter: Interpreter) -> Callable[..., Any]:
    """Preview a program without any cluster."""

    async def run(body: str, **options: Any) -> Report:
        config = {f"demo:{key}": value for key, value in options.pop("config", {}).items()}
        secret = frozenset(f"demo:{key}" for key in options.pop("secret", ()))
        request = RunRequest(write(body), "demo", "dev", config, secret, offline=True, **options)
        return await preview(request, interpreter=interpreter)

    return run


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., PolicyPack]:
    """Write a policy pack: functions, then the list of its policies."""

    def write(body: str, policies: str = "", *, name: str = "rules", config: Any = None) -> PolicyPack:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "PulumiPolicy.yaml").write_text("runtime: python\nversion: 1.2.3\n")
        made = f"PolicyPack({name!r}, [{policies}])\n" if policies else ""
        (folder / "__main__.py").write_text(PACK_HEAD + textwrap.dedent(body) + made)
        if config is None:
            return PolicyPack(folder)
        file = tmp_path / f"{name}.json"
        file.write_text(config if isinstance(config, str) else json.dumps(config))
        return PolicyPack(folder, file)

    return write


class Stack:
    """One stack of a test on the real cluster, in a namespace of its own."""

    def __init__(self, cluster: Cluster, folder: Path, interpreter: Interpreter) -> None:
        self.cluster = cluster
        self.interpreter = interpreter
        self.folder = folder
        self.name = f"t-{secrets.token_hex(4)}"
        self.events: list[str] = []
        self.extra: dict[str, str] = {}
        self.secret: frozenset[str] = frozenset()
        self.kubeconfig = cluster.kubeconfig

    def write(self, body: str, *, own_namespace: bool = False) -> None:
        """Write the program: `name` is its namespace, `configmap` makes a ConfigMap in it."""
        self.folder.mkdir(exist_ok=True)
        head = ON_CLUSTER + (OWN_NAMESPACE if own_namespace else "")
        (self.folder / "__main__.py").write_text(head + textwrap.dedent(body))

    def request(self, **options: Any) -> RunRequest:
        """Say what to run: the program as it is now."""
        base = {"demo:kubeconfig": str(self.kubeconfig), "demo:namespace": self.name, **self.extra}
        return RunRequest(self.folder, "demo", self.name, base, self.secret, **options)

    async def preview(self, **options: Any) -> Report:
        """Preview it."""
        return await preview(self.request(**options), interpreter=self.interpreter)

    async def up(self, body: str | None = None, **options: Any) -> Report:
        """Deploy it, after writing the program where one is given."""
        if body is not None:
            self.write(body)
        return await up(
            self.request(**options),
            on_event=lambda e: self.events.append(f"{e.kind}: {e.message}"),
            interpreter=self.interpreter,
        )

    async def down(self, **options: Any) -> Report:
        """Remove it."""
        return await down(self.request(**options), interpreter=self.interpreter)

    def objects(self, kinds: str = "configmaps,secrets,services,deployments.apps") -> set[str]:
        """Name what is in the namespace, but for what Kubernetes puts there."""
        out = self.cluster.kubectl("get", kinds, "-n", self.name, "-o", "name")
        return {line for line in out.split() if "kube-root-ca" not in line}

    def get(self, what: str, path: str) -> str:
        """Read one field of an object in the namespace by kubectl's jsonpath."""
        kind, _, name = what.partition("/")
        return self.cluster.kubectl("get", kind, name, "-n", self.name, "-o", f"jsonpath={{{path}}}")


@pytest.fixture(scope="session")
def record_namespace(cluster: Cluster) -> None:
    """Keep the namespace of the records: its removal after each last `down` would take ten seconds."""
    if "namespace/berth-system" not in cluster.kubectl("get", "namespaces", "-o", "name").split():
        cluster.kubectl("create", "namespace", "berth-system")
    cluster.kubectl("label", "namespace", "berth-system", "app.kubernetes.io/managed-by-")


@pytest.fixture
async def stack(
    cluster: Cluster,
    record_namespace: None,  # noqa: ARG001 - it only has to be there
    tmp_path: Path,
    interpreter: Interpreter,
) -> AsyncIterator[Stack]:
    """Give a stack on the real cluster, and a namespace of its name; whatever it left is removed."""
    made = Stack(cluster, tmp_path / "program", interpreter)
    cluster.kubectl("create", "namespace", made.name)
    yield made
    record = f"demo.{made.name}"
    cluster.kubectl("delete", "secrets,leases", record, "-n", "berth-system", "--ignore-not-found")
    cluster.kubectl("delete", "namespace", made.name, "--wait=false")

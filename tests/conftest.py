"""What every test may use: the local cluster, made on first use and deleted at the end."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from collections.abc import Iterator

    from berth.localcluster import Cluster

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure() -> None:
    """What this machine's user asked of clouds decides no test: plans know what a test gives them."""
    os.environ["BERTH_ANSWERS"] = str(ROOT / "tests" / "no-answers")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what needs no cluster first: most mistakes show there, in seconds."""
    items.sort(key=lambda item: item.get_closest_marker("cluster") is not None)
    for item in items:
        builds = item.get_closest_marker("cluster") or "rendering" in item.path.parts
        if builds and not item.get_closest_marker("timeout"):
            # On a machine with empty caches the first of them waits for Kubernetes, or Helm, to be compiled.
            item.add_marker(pytest.mark.timeout(1800))


class _TwoHalves(LoadScopeScheduling):  # type: ignore[misc] # pytest-xdist has no types
    """With two workers, one has the files whose tests share a cluster, and the other everything else.

    The tests of the local cluster itself are among everything else: they make clusters of their own. (The
    groups of pytest-xdist 3.8 do nothing under pytest 9: they write a name that nobody reads any more.)
    """

    def _split_scope(self, nodeid: str) -> str:
        file = ROOT / nodeid.partition("::")[0]
        shares = "localcluster" not in file.parts and "mark.cluster" in file.read_text()
        return "cluster" if shares else "rest"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    """Use it where scopes are asked for (`-n 2 --dist loadscope`)."""
    return _TwoHalves(config, log) if config.getoption("dist") == "loadscope" else None


@pytest.fixture(scope="session")
def _session_loop() -> asyncio.AbstractEventLoop:
    # Never closed: the SDK's mocks leave a loop in each of its threads, which would end with it, unclosed.
    loop = asyncio.new_event_loop()
    # A refused argument also fails the SDK's own tasks, which nobody awaits; the test has seen the refusal.
    loop.set_exception_handler(lambda _loop, _context: None)
    return loop


@pytest.fixture
def pulumi_loop(_session_loop: asyncio.AbstractEventLoop) -> None:
    """Give Pulumi's SDK a current event loop: asynchronous tests leave the thread without one."""
    asyncio.set_event_loop(_session_loop)


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the folder of this checkout."""
    return ROOT


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Give a real one-node Kubernetes of the tests' own.

    `BERTH_TEST_CLUSTER=name` uses (and keeps) a cluster of that name instead: faster while developing.
    """
    if os.geteuid() != 0:
        pytest.skip("needs root: the local cluster makes network namespaces and mounts")
    from berth.localcluster import Cluster  # noqa: PLC0415 - only tests with a cluster pay for it

    kept = os.environ.get("BERTH_TEST_CLUSTER")
    # Of this checkout: another one's tests may run on the same machine.
    made = Cluster(kept or f"berth-tests-{zlib.crc32(str(ROOT).encode()) & 0xFFFF:04x}")
    if not kept:
        made.delete()
    try:
        made.start()
        yield made
    finally:
        if not kept:
            made.delete()


@pytest.fixture(scope="session")
def previews(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return the report of every stack, planned without any credential, kubeconfig or network."""
    home = tmp_path_factory.mktemp("home")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "BERTH_CACHE": str(home / "cache"),
        "BERTH_CLUSTER": "nonesuch",
    }
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-m", "berth.cli", "preview", "--all", "--json"],
        env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-6000:]
    found = json.loads(done.stdout)
    assert found["ok"]
    return {report["stack"]: report for report in found["previews"]}

"""What every test may use: the local cluster, made on first use and deleted at the end."""

from __future__ import annotations

import asyncio
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from berth.localcluster import Cluster

ROOT = Path(__file__).resolve().parents[1]


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run what needs no cluster first: most mistakes show there, in seconds.

    With two workers (`-n 2 --dist loadgroup`) one has the tests' cluster, and the other everything else; the
    tests of the local cluster itself are among that, since they make clusters of their own.
    """
    items.sort(key=lambda item: item.get_closest_marker("cluster") is not None)
    if not hasattr(config, "workerinput"):
        return
    for item in items:
        shares = item.get_closest_marker("cluster") and "localcluster" not in item.path.parts
        item.add_marker(pytest.mark.xdist_group("cluster" if shares else "rest"))


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

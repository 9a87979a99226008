"""Two deployments of one stack: never both."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import json
from typing import TYPE_CHECKING

import pytest
from berth.deployer import Interpreter, Report, render, up
from berth.deployer.client import LEASES, Api
from berth.deployer.kubeconfig import load
from berth.deployer.lease import DURATION, Hold, is_dead_here, this_process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Stack

pytestmark = [
    pytest.mark.cluster,
    # httpcore forgets a connection that is cancelled between TCP and TLS; it closes when it is collected.
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <function _SelectorTransport:pytest.PytestUnraisableExceptionWarning",
        r"ignore:Exception ignored in. <socket\.socket:pytest.PytestUnraisableExceptionWarning",
    ),
]
SLOW = """
one = configmap("one", {"a": "1"})
import asyncio
later = asyncio.sleep(0 if pulumi.runtime.is_dry_run() else 2, "1")
configmap("two", {"a": pulumi.Output.from_input(later)}, depends_on=[one])
"""


@pytest.fixture(autouse=True)
def _collected_here() -> Iterator[None]:
    yield
    gc.collect()


def fine(report: Report) -> Report:
    assert report.ok, render(report)
    return report


async def test_the_second_of_two_runs_is_told_who_holds_the_stack(stack: Stack) -> None:
    stack.write(SLOW)
    begun = asyncio.Event()

    def watch(event: object) -> None:
        if "deploying" in str(event):
            begun.set()

    own = Interpreter()
    first = asyncio.create_task(up(stack.request(), on_event=watch, interpreter=own))
    await begun.wait()
    second = await stack.up()
    assert [error.code for error in second.errors] == ["locked"], render(second)
    text = second.errors[0].message
    for part in ("is being deployed by", "pid ", "since 20", "expires by itself"):
        assert part in text
    down = await stack.down()
    assert [error.code for error in down.errors] == ["locked"]
    fine(await first)
    own.close()
    assert fine(await stack.up()).changes == []
    assert f"demo.{stack.name}" not in stack.cluster.kubectl("get", "leases", "-A", "-o", "name")


async def test_starting_many_at_once_lets_exactly_one_through(stack: Stack) -> None:
    stack.write(SLOW)
    reports = await asyncio.gather(*(stack.up() for _ in range(4)))
    assert sum(report.ok for report in reports) == 1
    assert {error.code for report in reports for error in report.errors} == {"locked"}
    assert stack.objects() == {"configmap/one", "configmap/two"}


async def test_a_run_that_loses_its_lease_stops(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("berth.deployer.lease.RENEW", 0.2)
    stack.write(SLOW.replace("else 2", "else 20"))
    begun = asyncio.Event()
    task = asyncio.create_task(
        up(
            stack.request(),
            on_event=lambda event: begun.set() if "creating" in event.message else None,
            interpreter=stack.interpreter,
        )
    )
    await begun.wait()
    stolen = json.dumps({"spec": {"holderIdentity": "somebody else"}})
    stack.cluster.kubectl(
        "patch", "lease", f"demo.{stack.name}", "-n", "berth-system", "--type=merge", "-p", stolen
    )
    report = await task
    assert [error.code for error in report.errors] == ["lock-lost"], render(report)
    assert "configmap/two" not in stack.objects()
    lease = stack.cluster.kubectl("get", "lease", f"demo.{stack.name}", "-n", "berth-system", "-o", "yaml")
    assert "somebody else" in lease, "a Lease that is another's is not given back"
    stack.cluster.kubectl("delete", "lease", f"demo.{stack.name}", "-n", "berth-system")
    fine(await stack.up('configmap("one", {"a": "1"})'))


async def test_a_lease_that_expires_is_taken_over(stack: Stack) -> None:
    fine(await stack.up('configmap("one", {"a": "1"})'))
    api = Api(load(str(stack.kubeconfig)))
    hold = Hold(api, "berth-system", f"demo.{stack.name}", "the stack", "dead")
    await hold.take(lambda _: None)
    name = f"demo.{stack.name}"
    old = {"spec": {"renewTime": "2020-01-01T00:00:00.000000Z"}, "metadata": {"annotations": None}}
    await api.merge(LEASES, "berth-system", name, old)
    fine(await stack.up())

    await hold.take(lambda _: None)  # a holder elsewhere that fell silent: it is waited for, not refused
    silent = (api.now() - dt.timedelta(seconds=DURATION - 4)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    elsewhere = {"berth.dev/holder": '{"boot": "another machine"}'}
    fell = {"spec": {"renewTime": silent}, "metadata": {"annotations": elsewhere}}
    await api.merge(LEASES, "berth-system", name, fell)
    said: list[str] = []
    await Hold(api, "berth-system", name, "the stack", "next").take(said.append)
    assert "the stack: its last run stopped without a word; its lock expires in" in said[0]
    await api.close()


async def test_ctrl_c_is_orderly(stack: Stack) -> None:
    stack.write(SLOW.replace("else 2", "else 20"))
    stop = asyncio.Event()
    report = await up(
        stack.request(),
        on_event=lambda event: stop.set() if "created" in event.message else None,
        stop=stop,
        interpreter=stack.interpreter,
    )
    assert report.cancelled
    assert not report.ok
    assert [step.name for step in report.changes] == ["one"]
    assert f"demo.{stack.name}" not in stack.cluster.kubectl("get", "leases", "-A", "-o", "name")
    assert stack.objects() == {"configmap/one"}
    done = fine(await stack.up(SLOW))
    assert [step.name for step in done.changes] == ["two"]


async def test_a_cancelled_task_gives_its_lease_back(stack: Stack) -> None:
    stack.write(SLOW.replace("else 2", "else 20"))
    begun = asyncio.Event()
    task = asyncio.create_task(
        up(
            stack.request(),
            on_event=lambda event: begun.set() if "created" in event.message else None,
            interpreter=stack.interpreter,
        )
    )
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert f"demo.{stack.name}" not in stack.cluster.kubectl("get", "leases", "-A", "-o", "name")


def test_a_process_of_this_machine_is_known_to_be_dead() -> None:
    mine = this_process()
    assert not is_dead_here(mine)
    assert is_dead_here({**mine, "start": "1"})
    assert is_dead_here({**mine, "pid": "999999999"})
    assert not is_dead_here({**mine, "boot": "another", "pid": "999999999"})
    assert not is_dead_here({})


async def test_what_the_program_needs_confirmed_is_not_done_without(stack: Stack) -> None:
    stack.write('configmap("one", {"a": "1"})')
    asked: list[Report] = []

    def no(report: Report) -> bool:
        asked.append(report)
        return False

    report = await up(stack.request(), confirm=no, interpreter=stack.interpreter)
    assert not report.ok
    assert asked[0].summary == {"create": 1}
    assert stack.objects() == set()
    assert f"demo.{stack.name}" not in stack.cluster.kubectl("get", "leases,secrets", "-A", "-o", "name")

"""What a drill broke is written down before, and whole again after whatever became of the drill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from berth.cli import mending
from berth.cli.app import cli
from berth.cli.console import Console
from berth.cli.errors import UserError
from berth.cli.levers import Place, RecordedLever, lever
from berth.cli.mending import Breakage, broken, drilling_alone, mend
from berth.localcluster import BusyError
from click.testing import CliRunner

if TYPE_CHECKING:
    from pathlib import Path

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="quotas of processors need root")
QUIET = Console(quiet=True)

KILLED = """
import os, signal, sys
from berth.cli.mending import Breakage, drilling_alone
from berth.localcluster import NodeFaults

with drilling_alone("demo"):
    quotas = {sys.argv[1]: "50000"}
    Breakage("demo", "slow-site", "home").add({"kind": "quotas", "cluster": "none", "files": quotas})
    NodeFaults("none").slow(quotas, 0.1)
    os.kill(os.getpid(), signal.SIGKILL)
"""


STOPPED = """
import asyncio, sys
import berth.operations.drill as engine
from berth.cli.drill import _stoppable

async def forever(ground, settings, lever):
    print("began", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.1)
        print("mended", flush=True)

engine.drill = forever
try:
    asyncio.run(_stoppable(None, None, None))
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERTH_CACHE", str(tmp_path / "cache"))


@needs_root
def test_what_a_killed_drill_broke_is_mended_by_the_next_run(tmp_path: Path) -> None:
    quota = tmp_path / "cpu.cfs_quota_us"
    quota.write_text("50000")
    done = subprocess.run([sys.executable, "-c", KILLED, str(quota)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert quota.read_text() == "5000"
    result = CliRunner().invoke(cli, ["drill", "local", "--restore"])
    assert "nothing is broken" in result.output  # of another stack
    assert mend("demo", QUIET)
    assert quota.read_text() == "50000"
    assert not mend("demo", QUIET)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_drill_that_is_told_to_end_mends_first(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, text=True) as drill:
        assert drill.stdout is not None
        assert drill.stdout.readline() == "began\n"
        drill.send_signal(number)
        assert drill.stdout.read() == "mended\n"
    assert drill.returncode == 130


def test_what_cannot_be_mended_stays_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def undo(entry: mending.Json) -> None:
        done.append(entry["name"])
        if entry["name"] == "stubborn":
            raise OSError("it does not want to")

    monkeypatch.setattr(mending, "_UNDO", {"a": undo})
    breakage = Breakage("demo", "lose-site", "home")
    breakage.add({"kind": "a", "name": "first"})
    breakage.add({"kind": "a", "name": "stubborn"})
    with pytest.raises(UserError, match=r"it does not want to.*drill demo --restore"):
        breakage.mend()
    assert done == ["stubborn", "first"]  # the last first, and one that fails keeps no other one broken
    left = broken("demo")
    assert left is not None
    assert (left.fault, left.site, len(left.undo)) == ("lose-site", "home", 2)


def test_a_drill_that_runs_is_not_mended_by_others() -> None:
    Breakage("demo", "lose-site", "home").add({"kind": "nodes", "cluster": "none", "nodes": []})
    with drilling_alone("demo"):
        with pytest.raises(BusyError, match=f"process {os.getpid()} is drilling the stack 'demo'"):
            mend("demo", QUIET)
        with drilling_alone("another"):
            pass
    assert broken("demo") is not None


@pytest.mark.parametrize("text", ["", "[]", '{"version": 2}', '{"version": 1, "undo": [{"kind": "new"}]}'])
def test_a_record_that_is_not_understood_is_said(text: str) -> None:
    file = Breakage("demo").file
    file.parent.mkdir(parents=True)
    file.write_text(text)
    with pytest.raises(UserError, match="not in a way that this version knows"):
        mend("demo", QUIET)
    assert file.exists()


async def test_a_lever_writes_down_before_it_breaks_and_mends_once_it_is_released(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = {"nodes": "whole"}
    monkeypatch.setattr(mending, "_UNDO", {"a": lambda _entry: state.update(nodes="whole")})
    breakage = Breakage("demo", "lose-site", "home")

    def do() -> None:
        breakage.add({"kind": "a"})
        assert json.loads(breakage.file.read_text())["undo"] == [{"kind": "a"}]
        state["nodes"] = "lost"

    pulled = RecordedLever("demo", breakage, do)
    await pulled.release()  # nothing was done
    await pulled.pull()
    await pulled.hold()
    assert state == {"nodes": "lost"}
    await pulled.release()
    assert state == {"nodes": "whole"}
    assert not breakage.file.exists()


@pytest.mark.parametrize("fault", ["lose-site", "lose-pool"])
def test_a_site_without_nodes_of_its_own_cannot_be_lost(fault: str) -> None:
    place = Place("home", "", "", "models", {}, "front-report", cluster="berth")
    with pytest.raises(UserError, match=r"sites\.home\.simulatedNodes"):
        lever(fault, place, Breakage("demo"))


@pytest.mark.parametrize("kubeconfig", ["", "not-there", "apiVersion: v1\nusers: [canary]\n"])
def test_contents_of_a_kubeconfig_are_never_written_down(kubeconfig: str) -> None:
    place = Place("home", kubeconfig, "", "models", {}, "front-report")
    with pytest.raises(UserError, match="--context home=NAME") as refused:
        lever("lose-metrics", place, Breakage("demo"))
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["local"], "name a fault: lose-site, lose-pool, lose-metrics, slow-site"),
        (["local", "lose-all"], "is not one of 'lose-site'"),
        (["aws-prod", "lose-site"], "only where Berth made them"),
        (["aws-prod", "lose-metrics"], "add --yes"),
        (["no-such-stack", "lose-site"], "there is no stack"),
        (["local", "lose-site", "--seconds", "0"], "not in the range"),
    ],
)
def test_what_cannot_be_drilled_is_refused(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(cli, ["drill", *arguments])
    said = f"{result.output}{result.exception}"
    assert message in said
    assert result.exit_code != 0

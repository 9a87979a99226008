import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from berth.localcluster import units
from berth.localcluster.faults import signal_all
from berth.localcluster.processes import Identity, arguments, descendants, namespace, wait_until
from berth.localcluster.units import Program, Unit

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="process namespaces need root")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def test_a_process_is_ended_by_its_identity(sleeper: subprocess.Popen[bytes]) -> None:
    identity = Identity.of(sleeper.pid)
    assert identity is not None
    assert identity.alive
    assert Identity.from_json(identity.to_json()) == identity
    identity.kill()
    assert wait_until(lambda: not identity.alive, 5)
    identity.kill()


def test_a_pid_that_was_given_again_is_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    identity = Identity.of(sleeper.pid)
    assert identity is not None
    for other in (
        dataclasses.replace(identity, start=identity.start - 1),
        dataclasses.replace(identity, boot="another"),
    ):
        assert not other.alive
        other.kill()
        assert sleeper.poll() is None
        assert identity.alive


def test_a_zombie_does_not_count_as_running(sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.send_signal(signal.SIGKILL)
    assert wait_until(lambda: Identity.of(sleeper.pid) is None, 5)


@pytest.mark.parametrize("text", ["", "{", '{"pid": 1}', "[]", "null"])
def test_a_record_that_was_cut_short_is_no_identity(text: str) -> None:
    assert Identity.from_json(text) is None


def _unit(folder: Path, seconds: str = "600") -> Unit:
    # Under a name of its own: the unit's script sleeps too.
    napper = folder / "napper"
    if not napper.exists():
        napper.symlink_to("/bin/sleep")
    return Unit("demo", folder / "units", folder / "logs", [Program("napper", [napper, seconds])])


@pytest.fixture
def unit(tmp_path: Path) -> Iterator[Unit]:
    made = _unit(tmp_path)
    assert made.ensure()
    assert wait_until(lambda: not made.missing(), 5)
    yield made
    made.stop()


@needs_root
def test_a_unit_runs_once(unit: Unit) -> None:
    before = unit.processes()
    assert [process.program for process in before] == ["napper"]
    assert not unit.ensure()
    assert unit.processes() == before


@needs_root
def test_a_program_that_is_killed_comes_back(unit: Unit) -> None:
    killed = unit.processes()[0].pid
    os.kill(killed, signal.SIGKILL)
    assert wait_until(lambda: [one.pid for one in unit.processes()] not in ([], [killed]), 10)


def _pid_inside(pid: int) -> int:
    """The pid that a process has in its own process namespace."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("NSpid:")).split()[-1])


@needs_root
def test_a_unit_without_its_restart_loop_is_started_anew(unit: Unit) -> None:
    inside = {namespace(unit.processes()[0].pid, "pid")}
    first = unit.process_namespace()
    # The forks of process 1 are the loops; without them nobody starts the program again.
    for pid in units.members(inside):
        if arguments(pid)[:1] == ["/bin/bash"] and _pid_inside(pid) != 1:
            os.kill(pid, signal.SIGKILL)
    os.kill(unit.processes()[0].pid, signal.SIGKILL)
    assert wait_until(lambda: bool(unit.missing()), 5)
    assert unit.ensure()
    assert wait_until(lambda: not unit.missing(), 5)
    assert unit.process_namespace() != first


@needs_root
@pytest.mark.parametrize("victim", ["head", "first process"])
def test_one_kill_ends_the_whole_unit(unit: Unit, victim: str) -> None:
    head, inside = unit.head(), unit.process_namespace()
    assert head is not None
    pid = (
        head.pid if victim == "head" else int(Path(f"/proc/{head.pid}/task/{head.pid}/children").read_text())
    )
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: unit.head() is None and not units.members({inside}), 5)
    assert unit.ensure()


def _states(unit: Unit) -> set[str]:
    """States of all processes of a unit, its head's own left out: T is stopped."""
    head = unit.head()
    assert head is not None
    stats = [Path(f"/proc/{pid}/stat").read_text() for pid in descendants(head.pid)]
    return {stat.rpartition(")")[2].split()[0] for stat in stats}


@needs_root
def test_a_unit_is_frozen_whole_and_goes_on(unit: Unit) -> None:
    head = unit.head()
    assert head is not None
    signal_all(head, signal.SIGSTOP)
    assert wait_until(lambda: _states(unit) == {"T"}, 10)
    before = unit.processes()
    signal_all(head, signal.SIGCONT)
    assert wait_until(lambda: "T" not in _states(unit), 10)
    assert unit.processes() == before


@needs_root
def test_a_unit_whose_record_was_lost_is_found(unit: Unit) -> None:
    head = unit.head()
    unit.record.unlink()
    assert unit.head() == head
    unit.record.unlink()
    inside = unit.process_namespace()
    unit.stop()
    assert not units.members({inside})


@needs_root
@pytest.mark.usefixtures("unit")
def test_other_settings_start_the_unit_anew(tmp_path: Path) -> None:
    assert _unit(tmp_path, "601").ensure()
    running = _unit(tmp_path, "601")
    assert wait_until(lambda: not running.missing(), 5)
    assert arguments(running.processes()[0].pid) == [str(tmp_path / "napper"), "601"]


@needs_root
def test_a_unit_outlives_its_starter_and_holds_nothing_of_it(tmp_path: Path) -> None:
    unit = _unit(tmp_path)
    program = (
        "import sys; from pathlib import Path; f = Path(sys.argv[1]);"
        "from berth.localcluster.units import Program, Unit;"
        "Unit('demo', f / 'units', f / 'logs', [Program('napper', [f / 'napper', '600'])]).ensure()"
    )
    # communicate() inside run() waits for the pipe's end: it would hang if the unit held it.
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, timeout=30, check=True
    )
    try:
        assert unit.head() is not None
    finally:
        unit.stop()

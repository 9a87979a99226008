"""A unit: programs that run together in a process namespace of their own, and end together.

The control plane is one unit, each node is another. The head of a unit is an `unshare --fork --kill-child`;
its child is process 1 of the namespace, a small shell script that starts each program, starts it again a
second after it ended, and reaps orphans. The kernel ends every process of the namespace with its process 1,
and that with the head: one `kill -9` of the head, whoever sends it, leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from . import processes
from .commands import environment
from .errors import CleanupError, ClusterStartError
from .pki import write_private
from .processes import Identity

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_LOG_LIMIT_BYTES = 20 * 1024 * 1024

_SCRIPT = """\
#!/bin/bash
# Made by berth; remade by every start of the cluster. Process 1 of its namespace.
cd /
ulimit -n 65536 2>/dev/null
supervise() {{
    local log=$1; shift
    while :; do
        [ "$(stat -c %s "$log" 2>/dev/null || echo 0)" -gt {limit} ] && mv "$log" "$log.1"
        echo "--- $(date -u +%FT%TZ) $1 starts" >>"$log"
        "$@" >>"$log" 2>&1 </dev/null
        echo "--- $(date -u +%FT%TZ) $1 ended with $?" >>"$log"
        sleep 1
    done
}}
port_open() {{ (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }}
{prepare}
{programs}
# Programs are never all gone, so this never ends; it reaps whatever becomes an orphan.
while :; do wait; sleep 1; done
"""


@dataclass(frozen=True)
class Program:
    """A program of a unit."""

    name: str
    """The name of its executable, by which it is found among the unit's processes."""
    command: Sequence[str | Path]
    wait_for: str = ""
    """A shell condition that must hold before it starts."""

    def script(self, log: Path) -> str:
        """The shell line that runs it for ever."""
        words = " ".join(shlex.quote(str(word)) for word in self.command)
        wait = f"until {self.wait_for}; do sleep 0.1; done; " if self.wait_for else ""
        return f"{{ {wait}supervise {shlex.quote(str(log))} {words}; }} &"


@dataclass(frozen=True)
class RunningProcess:
    """One process of a unit as this machine sees it."""

    unit: str
    program: str
    pid: int
    resident_bytes: int


@dataclass(frozen=True)
class Unit:
    """A unit of one cluster; ``folder`` holds its script and the record of its head."""

    name: str
    folder: Path
    logs: Path
    programs: Sequence[Program]
    prepare: Sequence[str] = ()
    """Shell lines that run before the programs, with `set -e`."""
    network: Path | None = None
    """The file of the network namespace to run in; None for this machine's own."""
    own_mounts: bool = False
    path: Sequence[Path] = field(default=())
    """Folders that come first on the path of its programs."""

    @property
    def script(self) -> Path:
        """The shell script that is process 1."""
        return self.folder / f"{self.name}.sh"

    @property
    def record(self) -> Path:
        """Who the head is."""
        return self.script.with_suffix(".head")

    def log(self, program: str) -> Path:
        """The log file of one of its programs."""
        return self.logs / (f"{program}.log" if self.network is None else f"{self.name}-{program}.log")

    @property
    def own_log(self) -> Path:
        """What the unit's script itself says, which is nothing when all is well."""
        return self.logs / f"{self.name}.log"

    def _text(self) -> str:
        prepare = "\n".join(["set -e", *self.prepare, "set +e"]) if self.prepare else ""
        programs = "\n".join(program.script(self.log(program.name)) for program in self.programs)
        return _SCRIPT.format(limit=_LOG_LIMIT_BYTES, prepare=prepare, programs=programs)

    def _command(self) -> list[str]:
        enter = ["nsenter", f"--net={self.network}"] if self.network else []
        mounts = ["--mount", "--propagation", "private"] if self.own_mounts else []
        return [*enter, "unshare", *mounts, "--pid", "--fork", "--kill-child", "/bin/bash", str(self.script)]

    def is_current(self) -> bool:
        """Whether the script that is on disk is what the unit should run."""
        return self.script.exists() and self.script.read_text() == self._text()

    def ensure(self) -> bool:
        """Start the unit unless it runs as it should; say whether it was started.

        A unit that runs with other settings, or whose programs do not come back, is ended and started.
        """
        if self.head() is not None:
            if self.is_current() and self._complete():
                return False
            self.stop()
        write_private(self.script, self._text().encode(), 0o700)
        self.logs.mkdir(parents=True, exist_ok=True)
        with self.own_log.open("ab") as log:
            # `setsid --fork` hands the head over to process 1: it holds nothing of the caller's.
            subprocess.run(
                ["setsid", "--fork", *self._command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(*self.path),
                cwd=os.sep,
                check=True,
            )
        if not processes.wait_until(lambda: self.process_namespace() is not None, seconds=10):
            raise ClusterStartError(
                f"{self.name} did not start; {self.own_log} ends with:\n{tail(self.own_log, 5)}"
            )
        return True

    def _complete(self) -> bool:
        """Whether every program runs. One that has just been killed is given time to come back."""
        return processes.wait_until(lambda: not self.missing(), seconds=4, pause=0.2)

    def head(self) -> Identity | None:
        """The unit's head, None when the unit does not run."""
        return head_of(self.script)

    def process_namespace(self) -> int | None:
        """The number of the unit's process namespace, None when it does not run."""
        head = self.head()
        if head is None:
            return None
        try:
            children = Path(f"/proc/{head.pid}/task/{head.pid}/children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return processes.namespace(int(children[0]), "pid") if children else None

    def processes(self) -> list[RunningProcess]:
        """The unit's programs that run, each once. Containers and shims are not among them."""
        wanted = self.process_namespace()
        if wanted is None:
            return []
        names = {program.name for program in self.programs}
        found: dict[str, RunningProcess] = {}
        for pid in sorted(processes.all_pids()):
            words = processes.arguments(pid)
            name = Path(words[0]).name if words else ""
            if name in names and name not in found and processes.namespace(pid, "pid") == wanted:
                found[name] = RunningProcess(self.name, name, pid, processes.resident_bytes(pid))
        return [found[program.name] for program in self.programs if program.name in found]

    def missing(self) -> list[str]:
        """The names of programs that should run and do not."""
        running = {process.program for process in self.processes()}
        return [program.name for program in self.programs if program.name not in running]

    def stop(self) -> None:
        """End every process of the unit at once; see `stop`."""
        stop(self.script)


def head_of(script: Path) -> Identity | None:
    """The head of the unit that runs ``script``, None when it does not run."""
    record = script.with_suffix(".head")
    with contextlib.suppress(FileNotFoundError):
        recorded = Identity.from_json(record.read_text())
        if recorded is not None and recorded.alive:
            return recorded
    # A start that was interrupted before it could record.
    for found in _running(script):
        if processes.arguments(found.pid)[:1] == ["unshare"]:
            write_private(record, found.to_json().encode())
            return found
    return None


def stop(script: Path) -> None:
    """End every process of the unit that runs ``script``.

    At once, because what they keep is made for it: etcd's log and containerd's database survive a lost
    process, and a pod of a stopped cluster has nobody left to tell.

    Raises:
        CleanupError: a process cannot be ended within 20 s.
    """
    ours = processes.namespace(os.getpid(), "pid")
    namespaces: set[int | None] = set()

    def left() -> list[int]:
        found = _running(script)
        for identity in found:
            namespaces.add(processes.namespace(identity.pid, "pid"))
            identity.kill()
        return [identity.pid for identity in found] + members(namespaces - {ours, None})

    if not processes.wait_until(lambda: not left(), seconds=20, pause=0.02):
        pids = ", ".join(map(str, left()))
        raise CleanupError(f"{script.stem}: these processes do not end, the kernel holds them: {pids}")
    script.with_suffix(".head").unlink(missing_ok=True)


def _running(script: Path) -> list[Identity]:
    """The processes that run ``script``: a unit's head, its process 1, that one's forks; no editor."""
    pids = [pid for pid in processes.all_pids() if _runs(processes.arguments(pid), str(script))]
    return [identity for pid in pids if (identity := Identity.of(pid)) is not None]


def _runs(arguments: list[str], script: str) -> bool:
    program = Path(arguments[0]).name if arguments else ""
    return program in {"nsenter", "unshare", "bash"} and arguments[-1] == script


def members(namespaces: Collection[int | None]) -> list[int]:
    """The processes in any of these process namespaces, without zombies: those hold nothing any more."""
    if not namespaces:
        return []
    inside = [pid for pid in processes.all_pids() if processes.namespace(pid, "pid") in namespaces]
    return [pid for pid in inside if Identity.of(pid) is not None]


def tail(file: Path, lines: int) -> str:
    """The last ``lines`` lines of ``file``; empty when there is none."""
    try:
        with file.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - 400 * lines - 4096))
            text = log.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])

"""What a drill broke, kept in the cache until it is whole again, whatever became of the drill."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from berth.cli.errors import UserError
from berth.cli.paths import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from berth.cli.console import Console

Json = dict[str, Any]
_VERSION = 1
_NOT_FOUND = "404"


@dataclass
class Breakage:
    """What of a stack is broken on purpose. It is written down before it is broken.

    Attributes:
        stack: its name.
        fault, site: what was done, and to whom.
        undo: what makes it whole again, in the order in which it was broken.
    """

    stack: str
    fault: str = ""
    site: str = ""
    undo: list[Json] = field(default_factory=list)

    @property
    def file(self) -> Path:
        """Where it is written down."""
        return _folder() / f"{self.stack}.json"

    def add(self, entry: Json) -> None:
        """Write down what makes whole what is broken next."""
        self.undo.append(entry)
        self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self.file.with_suffix(f".{os.getpid()}")
        content = {
            "version": _VERSION,
            "stack": self.stack,
            "fault": self.fault,
            "site": self.site,
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "undo": self.undo,
        }
        draft.write_text(json.dumps(content, indent=2) + "\n")
        draft.replace(self.file)

    def mend(self) -> None:
        """Make everything whole, the last first; may be called again.

        Raises:
            UserError: something could not be; it stays written down.
        """
        failed = []
        for entry in reversed(self.undo):
            try:
                _UNDO[entry["kind"]](entry)
            except Exception as error:  # noqa: BLE001 - what else is broken must be mended all the same
                failed.append(f"{entry['kind']}: {error}")
        if failed:
            raise UserError(
                f"not everything that a drill broke is whole again: {'; '.join(failed)}. It is written down "
                f"in {self.file}; `./berth drill {self.stack} --restore` tries again",
                exit_code=1,
            )
        self.undo.clear()
        self.file.unlink(missing_ok=True)


def _folder() -> Path:
    return cache_folder() / "drills"


@contextlib.contextmanager
def drilling_alone(stack: str) -> Iterator[None]:
    """Keep other drills of the stack out meanwhile.

    Raises:
        BusyError: one runs; says which process.
    """
    from berth.localcluster.locks import locked

    with locked(_folder() / f".{stack}.lock", f"drilling the stack {stack!r}", wait_seconds=0):
        yield


def broken(stack: str) -> Breakage | None:
    """What a drill of the stack left broken; `None` where nothing is.

    Raises:
        UserError: it is written down in a way that this version does not know.
    """
    found = Breakage(stack)
    try:
        said: Mapping[str, Any] = json.loads(found.file.read_text())
        undo = list(said["undo"])
        known = said["version"] == _VERSION and all(one["kind"] in _UNDO for one in undo)
        read = Breakage(stack, str(said["fault"]), str(said["site"]), undo)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        known, read = False, found
    if not known:
        raise UserError(
            f"{found.file} says what a drill broke, but not in a way that this version knows: mend it by the "
            "berth that wrote it, or `./berth cluster delete` the clusters, and remove the file"
        )
    return read


def mend(stack: str, console: Console) -> bool:
    """Mend what a drill that was killed left broken; say whether there was anything.

    Raises:
        BusyError: the drill still runs.
        UserError: it could not be mended.
    """
    if not Breakage(stack).file.exists():
        return False
    with drilling_alone(stack):
        left = broken(stack)
        if left is None:
            return False
        with console.step("drill", f"mending what {left.fault} of {left.site} left broken", 5):
            left.mend()
    return True


def _nodes(entry: Json) -> None:
    from berth.localcluster import NodeFaults

    NodeFaults(entry["cluster"]).recover(entry["nodes"])


def _quotas(entry: Json) -> None:
    from berth.localcluster import NodeFaults

    NodeFaults(entry["cluster"]).restore(entry["files"])


def _pool(entry: Json) -> None:
    from berth.localcluster import Cluster

    cluster = Cluster(entry["cluster"])
    if cluster.status().state in {"absent", "stopped"}:
        return
    there = sum(one.pool == entry["pool"] for one in cluster.nodes())
    if there < entry["count"]:
        cluster.add_nodes(entry["count"] - there, pool=entry["pool"], simulated_gpus=entry["gpus"])


def _scale(entry: Json) -> None:
    """Of a cluster or a deployment that is gone nothing is left to mend."""
    from berth.operations.errors import ClusterRefused

    if not Path(entry["kubeconfig"]).is_file():
        return
    try:
        asyncio.run(scale(entry["kubeconfig"], entry["context"], entry["path"], entry["replicas"]))
    except ClusterRefused as error:
        if _NOT_FOUND not in str(error):
            raise


async def scale(kubeconfig: str, context: str, path: str, replicas: int) -> None:
    """Set the replicas of a deployment."""
    from berth.operations.kubeconfig import read_access
    from berth.operations.proof.real.writer import KubeWriter

    async with KubeWriter(await read_access(kubeconfig, context)) as kube:
        await kube.get(path)
        await kube.patch(f"{path}/scale", {"spec": {"replicas": replicas}})


_UNDO: Mapping[str, Callable[[Json], None]] = {
    "nodes": _nodes,
    "quotas": _quotas,
    "pool": _pool,
    "scale": _scale,
}

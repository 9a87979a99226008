"""One run per stack at a time: a Lease that is renewed while the run lives and expires when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import getpass
import json
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .client import LEASES, Api
from .errors import CONFLICT, ApiError, ClusterError, Locked, LockLost
from .manifest import PREFIX
from .state import explain_forbidden

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DURATION = 30.0  # seconds without a renewal after which a Lease is free
RENEW = 5.0  # seconds between renewals: five may fail before the Lease is lost
_MARGIN = 5.0  # seconds before the end at which a run that cannot renew stops itself
_HOLDER = PREFIX + "holder"
_ATTEMPTS = 5


def this_process() -> dict[str, str]:
    """What tells this process from every other one, also after its number was reused."""
    with contextlib.suppress(OSError, IndexError):
        return {
            "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            "pidns": str(Path("/proc/self/ns/pid").readlink()),
            "pid": str(os.getpid()),
            "start": _start_of("self"),
        }
    return {"pid": str(os.getpid())}


def _start_of(pid: str) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def is_dead_here(holder: Mapping[str, str]) -> bool:
    """Whether the holder ran on this machine and its process is certainly gone."""
    mine = this_process()
    if "boot" not in mine or any(holder.get(key) != mine[key] for key in ("boot", "pidns")):
        return False
    try:
        return _start_of(holder.get("pid", "")) != holder.get("start")
    except (FileNotFoundError, ProcessLookupError):
        return True
    except (OSError, IndexError):
        return False


def who() -> str:
    """Who runs this, for the messages of others."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} pid {os.getpid()}"


class Hold:
    """A stack's Lease in one cluster, as one run holds it.

    Args:
        api: the cluster.
        namespace: where the Lease lives.
        name: its name: the stack's record has the same.
        what: how messages name the stack.
        run: this run's id.
    """

    def __init__(self, api: Api, namespace: str, name: str, what: str, run: str) -> None:
        self._api, self._namespace, self._name, self._what = api, namespace, name, what
        self._identity = f"{who()} run {run}"
        self._live: dict[str, Any] | None = None
        self._task: asyncio.Task[None] | None = None

    async def take(self, on_wait: Callable[[str], None]) -> None:
        """Take the Lease.

        One whose holder has missed renewals is waited for until it expires; a live one is not.

        Raises:
            Locked: another run holds it.
        """
        tries = 0
        while tries < _ATTEMPTS:
            current = await self._api.get(LEASES, self._namespace, self._name)
            if current is not None and (reason := self._held(current)):
                left = self._seconds_left(current)
                if left > DURATION - 2 * RENEW:
                    raise Locked(reason)
                on_wait(
                    f"{self._what}: its last run stopped without a word; its lock expires in {left:.0f} s"
                )
                await asyncio.sleep(min(left, 1.0) + 0.1)
                continue
            tries += 1
            try:
                self._live = await self._write(current, acquired=True)
            except ApiError as error:
                if error.status != CONFLICT:
                    raise explain_forbidden(error, self._namespace) from None
                continue
            return
        raise Locked(f"{self._what}: several runs want to start at once; try again")

    def _held(self, current: Mapping[str, Any]) -> str:
        """Why the Lease is not free, or nothing."""
        spec = current.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if not holder or holder == self._identity or self._seconds_left(current) <= 0:
            return ""
        notes = (current["metadata"].get("annotations") or {}).get(_HOLDER) or "{}"
        if is_dead_here(json.loads(notes)):
            return ""
        return (
            f"{self._what} is being deployed by {holder} since {spec.get('acquireTime')} on "
            f"{self._api.target.label}. Wait until it has ended. If it died, its lock expires by itself "
            f"{self._seconds_left(current):.0f} s from now: run this again then."
        )

    def _seconds_left(self, current: Mapping[str, Any]) -> float:
        spec = current.get("spec") or {}
        renewed = spec.get("renewTime")
        if not renewed:
            return 0.0
        age = self._api.now() - dt.datetime.fromisoformat(renewed)
        return float(spec.get("leaseDurationSeconds") or DURATION) - age.total_seconds()

    async def _write(self, current: Mapping[str, Any] | None, *, acquired: bool) -> dict[str, Any]:
        now = self._api.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before = (current or {}).get("spec") or {}
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(DURATION),
            "acquireTime": now if acquired else before.get("acquireTime", now),
            "renewTime": now,
            "leaseTransitions": int(before.get("leaseTransitions") or 0) + (1 if acquired and current else 0),
        }
        metadata: dict[str, Any] = {
            "name": self._name,
            "namespace": self._namespace,
            "annotations": {_HOLDER: json.dumps(this_process())},
        }
        manifest = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": spec,
        }
        if current is None:
            return await self._api.create(LEASES, self._namespace, manifest)
        metadata["resourceVersion"] = current["metadata"]["resourceVersion"]
        return await self._api.replace(LEASES, manifest)

    def keep(self, on_lost: Callable[[LockLost], None]) -> None:
        """Renew in the background; tell once when the Lease is lost."""
        self._task = asyncio.create_task(self._keep(on_lost))

    async def _keep(self, on_lost: Callable[[LockLost], None]) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            await asyncio.sleep(RENEW)
            try:
                async with asyncio.timeout(RENEW):
                    self._live = await self._write(self._live, acquired=False)
                last = loop.time()
            except (ClusterError, TimeoutError) as error:
                if (
                    isinstance(error, ApiError)
                    and error.status in {404, CONFLICT}
                    and not await self._is_ours()
                ):
                    break
                if loop.time() - last > DURATION - _MARGIN:
                    break
        on_lost(
            LockLost(
                f"{self._what}: this run lost its lock on {self._api.target.label} and stopped, since "
                "another run may have started. Look at what that run did, then run this again."
            )
        )

    async def _is_ours(self) -> bool:
        with contextlib.suppress(ClusterError, TimeoutError):
            async with asyncio.timeout(RENEW):
                current = await self._api.get(LEASES, self._namespace, self._name)
            if current is None or (current.get("spec") or {}).get("holderIdentity") != self._identity:
                return False
            self._live = current
        return True

    async def release(self) -> None:
        """Give the Lease back. One that was lost meanwhile is left alone."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._live is None or not await self._is_ours():
            return
        version = {"resourceVersion": self._live["metadata"]["resourceVersion"]}
        with contextlib.suppress(ClusterError):
            await self._api.delete(
                LEASES, self._namespace, self._name, preconditions=version, propagation="Background"
            )
        self._live = None

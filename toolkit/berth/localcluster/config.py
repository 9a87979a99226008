"""What a cluster was made with, in its folder; and which part of the address range it has."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .addresses import RANGE, SLOTS, Plan, overlapping
from .errors import AddressesTakenError, ClusterError
from .locks import locked
from .network import foreign_routes, link_exists
from .paths import RUN, ClusterPaths, clusters_folder, run_folder
from .pki import write_private

DEFAULT_HPA_SYNC_SECONDS = 15.0
_VERSION = 1


@dataclass(frozen=True)
class Worker:
    """A node beside the first one."""

    index: int
    """Its place in the plan, from 2."""
    pool: str = ""
    """The value of its label berth.dev/pool; none where it is empty."""
    simulated_gpus: int = 0
    """GPUs that the scheduler sees; there is no hardware behind them."""


@dataclass(frozen=True)
class Config:
    """The settings that a cluster was made or last started with."""

    slot: int
    hpa_sync_seconds: float = DEFAULT_HPA_SYNC_SECONDS
    egress: bool = False
    simulated_gpus: int = 0
    addons: tuple[str, ...] = ()
    workers: tuple[Worker, ...] = ()
    version: int = _VERSION

    @classmethod
    def read(cls, paths: ClusterPaths) -> Config | None:
        """What is recorded, None where there is no such cluster.

        Raises:
            ClusterError: the file was written by another version of berth, or by nobody of ours.
        """
        try:
            content = json.loads(paths.config.read_text())
            if content["version"] != _VERSION:
                raise ClusterError(
                    f"{paths.config} is of version {content['version']}, this berth knows {_VERSION}: "
                    f"delete the cluster with the berth that made it, or use that one"
                )
            workers = tuple(Worker(**worker) for worker in content.get("workers", ()))
            return cls(**{**content, "addons": tuple(content["addons"]), "workers": workers})
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise ClusterError(
                f"{paths.config} is damaged ({error}): "
                "`berth cluster delete` removes the cluster, then start it anew"
            ) from None

    def write(self, paths: ClusterPaths) -> None:
        """Record the settings."""
        write_private(paths.config, (json.dumps(asdict(self), indent=2) + "\n").encode())

    @property
    def plan(self) -> Plan:
        """The cluster's addresses."""
        return Plan(self.slot)


def owner_file(slot: int) -> Path:
    """Names the folder of the cluster that has the slot on this machine, whoever's cache that is in."""
    return run_folder(slot) / "owner"


def owns(slot: int, paths: ClusterPaths) -> bool:
    """Whether the cluster in ``paths`` has the slot on this machine now."""
    owner = owner_file(slot)
    return owner.exists() and owner.read_text() == str(paths.root)


def claim(slot: int, paths: ClusterPaths) -> bool:
    """Take the slot for the cluster in ``paths``; say whether it was free or ours already."""
    with locked(RUN / ".lock", "choosing addresses", wait_seconds=30):
        owner = owner_file(slot)
        if owner.exists() and owner.read_text() != str(paths.root):
            # Left behind by a folder that somebody removed by hand, with nothing running: free again.
            if Path(owner.read_text(), "cluster.json").exists() or link_exists(Plan(slot).bridge):
                return False
        elif not owner.exists() and link_exists(Plan(slot).bridge):
            return False
        run_folder(slot).mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(owner, str(paths.root).encode())
        return True


def choose(paths: ClusterPaths, settings: Config) -> Config:
    """Give a new cluster a free slot, record that, and return the settings with it.

    Raises:
        AddressesTakenError: no slot is free; names for each what has it.
    """
    recorded = {}
    for file in sorted(clusters_folder().glob("*/cluster.json")):
        other = ClusterPaths(file.parent)
        if other != paths and (config := Config.read(other)) is not None:
            recorded[config.slot] = other.root.name
    taken = []
    routes = foreign_routes()
    for slot in range(SLOTS):
        plan = Plan(slot)
        if slot in recorded:
            taken.append(f"{plan.network}: the cluster {recorded[slot]!r}")
        elif route := overlapping(plan, routes):
            taken.append(f"{plan.network}: this machine's route to {route}")
        elif not claim(slot, paths):
            taken.append(f"{plan.network}: another cluster's ({owner_file(slot)})")
        else:
            chosen = replace(settings, slot=slot)
            chosen.write(paths)
            return chosen
    raise AddressesTakenError(
        f"no part of {RANGE} is free for one more cluster:\n  "
        + "\n  ".join(taken)
        + "\nDelete a cluster that you no longer need."
    )


def reclaim(paths: ClusterPaths, settings: Config) -> None:
    """Take the slot of a cluster that was stopped again.

    Raises:
        AddressesTakenError: somebody else has it meanwhile.
    """
    if route := overlapping(settings.plan, foreign_routes()):
        raise AddressesTakenError(
            f"the cluster {paths.root.name!r} has the addresses {settings.plan.network}, "
            f"and this machine now has a route to {route}: remove that route (often a VPN's), "
            "or delete the cluster and start it anew"
        )
    if not claim(settings.slot, paths):
        owner = owner_file(settings.slot)
        who = owner.read_text() if owner.exists() else f"the bridge {settings.plan.bridge}"
        raise AddressesTakenError(
            f"the cluster {paths.root.name!r} has the addresses {settings.plan.network}, "
            f"and {who} uses them now: stop that one first, or delete one of the two"
        )

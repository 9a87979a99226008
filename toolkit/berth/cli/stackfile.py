"""Which stacks there are, and how a stack's configuration meets what only this machine knows.

The overlay keys (`connections`, `images`, `apiKeys`) are described in `docs/stacks.md`.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from berth.cli.errors import UserError
from berth.cli.paths import ROOT, cluster_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from berth.deployer import RunRequest
PROJECT = "berth"
STACKS = ROOT / "stacks"
_GROUNDS = ("cluster", "eks", "gke", "sagemaker")
CLOUDS = frozenset({"eks", "gke", "sagemaker"})
"""Grounds whose resources only the Pulumi CLI can make."""
CLOSED = "a-secret-that-cannot-be-opened-here"
"""Stands for it in an offline plan, which compares nothing and shows no secret."""


@dataclass(frozen=True)
class LocalSite:
    """What a site of a local stack asks of this machine.

    Attributes:
        cluster: the name of its cluster.
        nodes: how many simulated nodes it wants there, each with `gpus` simulated accelerators.
        gpus: accelerators of each.
    """

    cluster: str
    nodes: int = 0
    gpus: int = 0


@dataclass(frozen=True)
class Stack:
    """A stack that has a file: its name, the file, what it says, and the checkout that has it."""

    name: str
    file: Path
    config: Mapping[str, Any]
    root: Path = ROOT

    @property
    def is_local(self) -> bool:
        """Whether the stack lives on a cluster that Berth makes on this machine."""
        return bool(self.config.get("berth:environment") == "local")

    @property
    def sites(self) -> tuple[str, ...]:
        """The names of its sites."""
        sites = self.config.get("berth:sites")
        return tuple(sites) if isinstance(sites, dict) else ()

    @property
    def local_sites(self) -> dict[str, LocalSite]:
        """What its sites ask of this machine; wrong settings ask for nothing, and are said elsewhere."""
        sites = self.config.get("berth:sites")
        return {
            key: _local_site(site if isinstance(site, dict) else {})
            for key, site in (sites.items() if isinstance(sites, dict) else ())
        }

    @property
    def lacks_node_address(self) -> bool:
        """Whether something of it is reached at a node's port, and a site does not say at which address."""
        sites = self.config.get("berth:sites")
        found = [site for site in sites.values() if isinstance(site, dict)] if isinstance(sites, dict) else []
        served = json.dumps([self.config.get(f"berth:{key}") for key in ("models", "routers")], default=str)
        return '"NodePort"' in served and not all(site.get("nodeAddress") for site in found)

    @property
    def has_own_ground(self) -> bool:
        """Whether its sites say which clusters and nodes of this machine they have."""
        sites = self.config.get("berth:sites")
        found = [site for site in sites.values() if isinstance(site, dict)] if isinstance(sites, dict) else []
        return any(key in site for site in found for key in ("localCluster", "simulatedNodes"))

    @property
    def grounds(self) -> frozenset[str]:
        """What its sites stand on: cluster, eks, gke, sagemaker; nothing of a site that says none yet."""
        sites = self.config.get("berth:sites")
        found = [site for site in sites.values() if isinstance(site, dict)] if isinstance(sites, dict) else []
        return frozenset(key for site in found for key in site if key in _GROUNDS)

    @property
    def settings(self) -> frozenset[str]:
        """Keys of what it says, without `berth:`."""
        return frozenset(key.removeprefix("berth:") for key in self.config)

    @property
    def scales_on_cpu(self) -> bool:
        """Whether an autoscaler of the stack needs metrics-server."""
        models = self.config.get("berth:models")
        autoscaling = (
            model.get("autoscaling")
            for model in (models.values() if isinstance(models, dict) else ())
            if isinstance(model, dict)
        )
        return any(isinstance(one, dict) and one.get("metric") == "cpu" for one in autoscaling)

    @property
    def images(self) -> Mapping[str, Any]:
        """What the file says of images; empty where it says nothing."""
        images = self.config.get("berth:images")
        return images if isinstance(images, dict) else {}


def _local_site(site: Mapping[str, Any]) -> LocalSite:
    suffix, nodes = site.get("localCluster"), site.get("simulatedNodes")
    name = f"{cluster_name()}-{suffix}" if isinstance(suffix, str) else cluster_name()
    if not isinstance(nodes, dict):
        return LocalSite(name)
    count, gpus = nodes.get("count", 1), nodes.get("gpus", 0)
    return LocalSite(name, *(number if isinstance(number, int) else 0 for number in (count, gpus)))


def local_clusters(stack: Stack) -> dict[str, str]:
    """Return the cluster of this machine that each site of a local stack is on, by the site's name."""
    return {key: site.cluster for key, site in stack.local_sites.items()}


def stack_names(folder: Path | None = None) -> list[str]:
    """Return the stacks that have a file, in this checkout or in another one's folder."""
    folder = folder or STACKS
    return sorted(
        path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in folder.glob("Pulumi.*.yaml")
    )


def find_stack(name: str, root: Path | None = None) -> Stack:
    """Return the stack of that name, of this checkout or of another one.

    Raises:
        UserError: it has no file.
        SettingsError: its file or a base that it extends cannot be read.
    """
    folder = root / "stacks" if root else STACKS
    file = folder / f"Pulumi.{name}.yaml"
    names = stack_names(folder)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise UserError(f"there is no stack '{name}': no file {file}.{hint} Stacks: {', '.join(names)}")
    from berth_stacks.inherit import layers_of
    from berth_stacks.lines import NAMESPACE

    values = layers_of(folder, name).values
    return Stack(name, file, {f"{NAMESPACE}{key}": value for key, value in values.items()}, root or ROOT)


def request_for(
    stack: Stack,
    overlay: Mapping[str, Any],
    secrets: Mapping[str, Any],
    *,
    offline: bool = False,
    by_pulumi: bool = False,
) -> RunRequest:
    """Return what an engine needs to run a stack.

    Args:
        stack: the stack.
        overlay: values by config key (`berth:images`), objects as such; they replace the file's.
        secrets: the same for secret values.
        offline: whether to plan without asking any cluster; secrets need not be opened then.
        by_pulumi: whether the Pulumi CLI runs it, which reads the file and opens its secrets itself.
    """
    from berth.deployer import RunRequest, load_config, load_recorded

    config: dict[str, str] = {}
    secret_keys: frozenset[str] = frozenset()
    if not by_pulumi:
        config, secret_keys = load_config(stack.root, stack.name, closed=CLOSED if offline else None)
        # All keys may be one secret; a plan only needs to know that there are some.
        config = {
            key: json.dumps({"closed": CLOSED}) if (key, value) == ("berth:apiKeys", CLOSED) else value
            for key, value in config.items()
        }
    merged = {**config, **{key: _text(value) for key, value in {**overlay, **secrets}.items()}}
    return RunRequest(
        program=stack.file.parent,
        project=PROJECT,
        stack=stack.name,
        root=stack.root,
        config=merged,
        offline=offline,
        recorded=load_recorded(stack.root, stack.name),
        secret_keys=(secret_keys - overlay.keys()) | secrets.keys(),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)

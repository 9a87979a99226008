"""What a command is asked to do, and what all of its parts share."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import ConfigError, DeployError
from .recorded import Recorded
from .report import Diagnostic, Event, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from .cluster import Cluster, Clusters
    from .values import Redactor


class Stopped(DeployError):  # noqa: N818 - reads as the state it reports
    """Not started, because something else failed before or the run was stopped. It is no error of its own."""


@dataclass(frozen=True)
class PolicyPack:
    """A CrossGuard policy pack in Python: its folder with a PulumiPolicy.yaml, and its configuration file."""

    folder: Path
    config: Path | None = None


@dataclass(frozen=True)
class RunRequest:
    """What to run, for which stack.

    Attributes:
        program: the program's folder (with a `__main__.py`) or file.
        project: the project's name.
        stack: the stack's name.
        config: configuration by full key (`berth:sites`); values are strings, JSON for objects.
        secret_keys: the keys whose values are secret.
        parallel: how many steps at once; at most 16 calls at a time reach one API server.
        root: the folder of `Pulumi.yaml`; the program's folder without it.
        path: folders that come first on the program's module path, before what is installed: another
            revision's own packages, for example. They count only for modules that no warm process imported.
        python: the interpreter with the program's packages; this one without it.
        organization: what `pulumi.get_organization()` says.
        offline: plan without asking any cluster. Not for `up` and `down`.
        idle_seconds: a program that does nothing visible for so long is stopped.
        state_namespace: where the stack's record and Lease live in each cluster.
        kubeconfigs: for `down` and `outputs`: (kubeconfig, context) of each cluster; with them the program
            is not run at all.
        recorded: for previews: answers of providers' functions, and outputs of other stacks.
        policy_packs: the policy packs that see every resource; an `up` that breaks a mandatory policy is
            refused before anything changes.
        policy_seconds: how long a pack may take over one resource; a policy that takes longer is broken.
        pack_seconds: how long a pack may take until it serves.
        take_back: write over fields that other field managers own, as the annotation pulumi.com/patchForce
            does for one object.
    """

    program: Path
    project: str
    stack: str
    config: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret_keys: frozenset[str] = frozenset()
    parallel: int = 16
    root: Path | None = None
    path: tuple[Path, ...] = ()
    python: Path | None = None
    organization: str = "organization"
    offline: bool = False
    idle_seconds: float = 300.0
    state_namespace: str = "berth-system"
    kubeconfigs: tuple[tuple[str | None, str | None], ...] = ()
    recorded: Recorded = field(default_factory=Recorded)
    policy_packs: tuple[PolicyPack, ...] = ()
    policy_seconds: float = 5.0
    pack_seconds: float = 60.0
    take_back: bool = False

    def __post_init__(self) -> None:
        for name, value in (("project", self.project), ("stack", self.stack)):
            if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", value):
                raise ConfigError(f"{name} {value!r}: allowed are letters, digits, '_', '-', '.', up to 100")
        if not self.program.exists():
            raise ConfigError(f"program {self.program} does not exist")


@dataclass
class Context:
    """What the runs of one command share."""

    request: RunRequest
    redactor: Redactor
    clusters: Clusters
    on_event: Callable[[Event], None]
    diagnostics: list[Diagnostic] = field(default_factory=list)

    def tell(self, kind: str, message: str, step: Step | None = None, urn: str = "") -> None:
        """Tell the live display; secrets known so far are taken out."""
        text = self.redactor.text(message)
        self.on_event(
            Event(
                kind,
                text,
                step.urn if step else urn,
                step.op.value if step else "",
                self.redactor.text(step.object) if step else "",
            )
        )

    def on(self, cluster: Cluster) -> str:
        """Which cluster is meant, where there are several; nothing where there is one."""
        return f" on {cluster.label}" if len(self.clusters.all) > 1 else ""

    def complain(self, error: DeployError, urn: str = "") -> None:
        """Keep an error for the report, once."""
        if isinstance(error, Stopped):
            return
        message = Diagnostic("error", str(error), urn, error.code)
        if all(known.message != message.message for known in self.diagnostics):
            self.diagnostics.append(message)
            self.tell("failed", message.message, urn=urn)

"""Runs a Pulumi program where there is no Pulumi CLI.

`preview`, `up`, `down` and `outputs` take a `RunRequest`; the first three return a `Report`, which `render`
turns into text. Problems of the program or of a cluster are the report's diagnostics; a request that is
wrong in itself raises `ConfigError`. The deployer keeps no state file: what a stack owns is read from the
cluster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .config import Project, load_config, load_project, set_secret
from .errors import (
    ApiError,
    ClusterError,
    ConfigError,
    DeployError,
    Locked,
    LockLost,
    ProgramError,
    Refused,
    Unreachable,
)
from .render import render
from .report import Diagnostic, Event, Op, PropertyChange, Report, Step
from .request import RunRequest
from .values import UNKNOWN, Secret

if TYPE_CHECKING:
    from .deploy import down, outputs, preview, up

__all__ = [
    "UNKNOWN",
    "ApiError",
    "ClusterError",
    "ConfigError",
    "DeployError",
    "Diagnostic",
    "Event",
    "LockLost",
    "Locked",
    "Op",
    "ProgramError",
    "Project",
    "PropertyChange",
    "Refused",
    "Report",
    "RunRequest",
    "Secret",
    "Step",
    "Unreachable",
    "down",
    "load_config",
    "load_project",
    "outputs",
    "preview",
    "render",
    "set_secret",
    "up",
]


def __getattr__(name: str) -> Any:
    """The commands, imported when first asked for: they bring gRPC and the Pulumi SDK."""
    if name in {"preview", "up", "down", "outputs"}:
        from . import deploy  # noqa: PLC0415 - 0.5 s that `berth --help` need not pay

        return getattr(deploy, name)
    raise AttributeError(name)

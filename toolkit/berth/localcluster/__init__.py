"""A real Kubernetes on this machine, from packages.

    cluster = Cluster("berth")
    cluster.start()
    cluster.kubectl("get", "nodes")

Needs root, and prints nothing: pass a `Progress` to hear what happens.
"""

from .build import Binaries, build_binaries, build_metrics_server
from .cluster import Cluster, Status
from .config import DEFAULT_HPA_SYNC_SECONDS
from .errors import (
    AddressesTakenError,
    ApiError,
    BuildError,
    BusyError,
    CleanupError,
    ClusterError,
    ClusterNameError,
    ClusterNotRunningError,
    ClusterStartError,
    DownloadError,
    ImageError,
    MissingToolError,
    NodeBusyError,
    NoSpaceError,
    NotPossibleHereError,
    NotRootError,
    UnsupportedMachineError,
)
from .faults import NodeFaults
from .gobuild import build_tool, log_file
from .packages import Packages, fetch_packages, install_tools, missing_tools
from .paths import cache_folder
from .preflight import Finding, preflight
from .progress import SILENT, Progress, Step
from .pyvenv import tool_venv
from .units import RunningProcess
from .workers import NodeInfo

__all__ = [
    "DEFAULT_HPA_SYNC_SECONDS",
    "SILENT",
    "AddressesTakenError",
    "ApiError",
    "Binaries",
    "BuildError",
    "BusyError",
    "CleanupError",
    "Cluster",
    "ClusterError",
    "ClusterNameError",
    "ClusterNotRunningError",
    "ClusterStartError",
    "DownloadError",
    "Finding",
    "ImageError",
    "MissingToolError",
    "NoSpaceError",
    "NodeBusyError",
    "NodeFaults",
    "NodeInfo",
    "NotPossibleHereError",
    "NotRootError",
    "Packages",
    "Progress",
    "RunningProcess",
    "Status",
    "Step",
    "UnsupportedMachineError",
    "build_binaries",
    "build_metrics_server",
    "build_tool",
    "cache_folder",
    "fetch_packages",
    "install_tools",
    "log_file",
    "missing_tools",
    "preflight",
    "tool_venv",
]

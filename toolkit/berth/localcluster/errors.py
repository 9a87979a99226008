"""What can go wrong with a local cluster, as one tree.

ClusterError                 anything below; its text names what, why and the next step
├── NotPossibleHereError     this machine or this person cannot run a cluster; nothing was changed
│   ├── NotRootError
│   ├── UnsupportedMachineError   another distribution, release or processor
│   ├── MissingToolError     a plain tool such as iptables is not installed
│   ├── NoSpaceError         the disk of the cache is too full
│   └── AddressesTakenError  no free part of 198.18.0.0/15, or a port in use
├── DownloadError            a package or a Go module could not be fetched
├── BuildError               the Go compiler failed; names its log
├── BusyError                another process works on the same thing
├── ClusterNameError         the name cannot be one
├── ClusterNotRunningError   asked of a cluster that is stopped, broken or was never started
├── ClusterStartError        a part did not come up in time; carries its last log lines
├── NodeBusyError            a node cannot be removed yet: pods do not leave it
├── CleanupError             something of the cluster could not be removed
├── ApiError                 the API server answered with an error, or not at all
└── ImageError               an image could not be imported, or is not there
"""

from __future__ import annotations


class ClusterError(Exception):
    """Anything that goes wrong with a local cluster."""


class NotPossibleHereError(ClusterError):
    """This machine or this person cannot run a cluster; nothing was changed."""


class NotRootError(NotPossibleHereError):
    """A cluster needs root: network namespaces, mounts and cgroups."""


class UnsupportedMachineError(NotPossibleHereError):
    """Another distribution, release or processor than the ones supported."""


class MissingToolError(NotPossibleHereError):
    """A plain tool of the distribution is not installed."""


class NoSpaceError(NotPossibleHereError):
    """The disk that holds the cache is too full."""


class AddressesTakenError(NotPossibleHereError):
    """No part of 198.18.0.0/15 is free, or an address that the cluster owns is in use."""


class DownloadError(ClusterError):
    """A package or a Go module could not be fetched."""


class BuildError(ClusterError):
    """The Go compiler failed; the message names its log."""


class BusyError(ClusterError):
    """Another process works on the same cluster or build."""


class ClusterNameError(ClusterError):
    """The name cannot be a cluster's name."""


class ClusterNotRunningError(ClusterError):
    """The cluster is stopped, broken or was never started."""


class ClusterStartError(ClusterError):
    """A part of the cluster did not come up in time."""


class NodeBusyError(ClusterError):
    """Pods did not leave a node in time."""


class CleanupError(ClusterError):
    """Something that belongs to the cluster could not be removed."""


class ApiError(ClusterError):
    """The API server answered with an error, or not at all.

    ``status`` is the HTTP status, 0 where there was no answer.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class ImageError(ClusterError):
    """An image could not be imported, or is not there."""

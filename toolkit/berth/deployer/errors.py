"""What can go wrong, as one tree.

```
DeployError
├── ConfigError          a stack file, a kubeconfig, a passphrase: nothing was contacted
├── ProgramError         the program raised, ended early or hangs
├── Refused              the program uses something the deployer does not do
│   └── ForbiddenError   a policy forbids it, or could not say
├── Locked               another run holds this stack
├── LockLost             this run lost its hold on the stack
└── ClusterError
    ├── Unreachable      no connection, or no answer in time
    └── ApiError         the API server answered with an error
```

Transport exceptions (httpx, grpc, ssl) never leave the package. Each class carries a `code`, the word
that a `Diagnostic` shows for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

FORBIDDEN = 403
NOT_FOUND = 404
CONFLICT = 409
UNPROCESSABLE = 422


class DeployError(Exception):
    """Anything that a person can mend; its text is the whole message."""

    code = "error"


class ConfigError(DeployError):
    """A file, key or value that was handed in is wrong; the text names it and what is allowed."""

    code = "config"


class ProgramError(DeployError):
    """The Pulumi program failed, ended early or did nothing for too long."""

    code = "program"


class Refused(DeployError):  # noqa: N818 - it is an answer, not a failure of ours
    """The program asks for something that the deployer does not do."""

    code = "refused"


class ForbiddenError(Refused):
    """A policy forbids it, or could not say."""

    code = "policy"


class Locked(DeployError):  # noqa: N818 - reads as the state it reports
    """Another run holds the stack; the text names who, since when, and what to do."""

    code = "locked"


class LockLost(DeployError):  # noqa: N818 - reads as the event it reports
    """This run's Lease could not be renewed or was taken over."""

    code = "lock-lost"


class ClusterError(DeployError):
    """A cluster did not do what was asked."""

    code = "cluster"


class Unreachable(ClusterError):  # noqa: N818 - reads as the state it reports
    """No connection to the API server, or no answer within the deadline."""

    code = "unreachable"


class ApiError(ClusterError):
    """The API server answered with an error.

    Attributes:
        status: HTTP status code.
        reason: Kubernetes' machine-readable reason, for example `Forbidden`; may be empty.
        message: Kubernetes' sentence.
        causes: `details.causes` as sent: dicts with `reason`, `message`, `field`.
        details: `details` as sent.
    """

    code = "api"

    def __init__(self, status: int, body: Mapping[str, Any], what: str) -> None:
        details = body.get("details") or {}
        self.status = status
        self.reason: str = body.get("reason") or ""
        self.message: str = body.get("message") or f"HTTP {status}"
        self.details: Mapping[str, Any] = details
        self.causes: list[dict[str, str]] = list(details.get("causes") or [])
        self.what = what
        super().__init__(f"{what}: {self.message}")

    @property
    def is_field_conflict(self) -> bool:
        """Whether another field manager owns a field that this apply sets."""
        return self.status == CONFLICT and any(c.get("reason") == "FieldManagerConflict" for c in self.causes)

    @property
    def is_stale(self) -> bool:
        """Whether the object changed since it was read, so that reading it again helps."""
        return self.status == CONFLICT and self.reason == "Conflict" and not self.is_field_conflict

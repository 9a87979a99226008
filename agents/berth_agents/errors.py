"""What can go wrong between an agent and its cluster.

::

    AgentError
    ├── SettingsError          an environment variable or a mounted file is wrong; the process exits with 2
    └── KubeError
        ├── ApiUnreachable     no answer: refused, reset, timed out, TLS, not JSON
        └── ApiRefused         the API server answered with a Status: its code, reason and message

The transport (aiohttp) never leaks: callers of `berth_agents.kube` see only these.
"""


class AgentError(Exception):
    """Root of everything an agent raises on purpose."""


class SettingsError(AgentError):
    """A setting is missing or wrong. The message names it, its value and what is allowed."""


class KubeError(AgentError):
    """A call to the API server did not succeed."""


class ApiUnreachable(KubeError):  # noqa: N818 - the field's word for it is a state, not an error
    """The API server gave no usable answer."""


class ApiRefused(KubeError):  # noqa: N818 - as above
    """The API server answered with a failure.

    Args:
        status: HTTP status code, e.g. 409.
        reason: the Status' reason, e.g. `Conflict` (`""` where there is none).
        message: the Status' message.
    """

    def __init__(self, call: str, status: int, reason: str, message: str) -> None:
        super().__init__(f"{call}: {status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message

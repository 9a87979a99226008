"""What can go wrong in an operation.

::

    OperationsError
    ├── LoadSettingsError      a setting of a load is not allowed
    ├── CalibrationError       what an endpoint did cannot be called a measurement
    ├── EndpointError          the endpoint cannot be used
    │   ├── EndpointUnreachable    it gave no answer, or said that it is not ready, for as long as we waited
    │   └── EndpointRefused        it refused the request: a wrong key, no such route
    ├── ImageToolMissing       images go into a cluster by its own tool, which is not installed
    ├── ImageLoadError         that tool did not load them
    ├── ChainBroken            a link of a scale path did not move on a real cluster
    └── ClusterReadError       what the cluster does cannot be read
        ├── KubeconfigError        the kubeconfig is missing, broken, or uses what is not supported here
        ├── NoNodeError            no node is Ready and takes pods
        └── ClusterRefused         the API server refused to show it

httpx never leaks: every message names the address, what was answered, and what to do next.
"""


class OperationsError(Exception):
    """Root of everything that an operation raises on purpose."""


class LoadSettingsError(OperationsError):
    """A setting of a load is not allowed. The message names it, its value and what is allowed."""


class CalibrationError(OperationsError):
    """What an endpoint did cannot be called a measurement: nothing is written."""

    exit_code = 1


class EndpointError(OperationsError):
    """The endpoint cannot be used."""


class EndpointUnreachable(EndpointError):  # noqa: N818 - the field's word for it is a state, not an error
    """It gave no answer, or said that it is not ready, for as long as we waited."""


class EndpointRefused(EndpointError):  # noqa: N818 - as above
    """It refused the request for a reason that waiting does not mend."""


class ImageToolMissing(OperationsError):  # noqa: N818 - a lack of this machine
    """A cluster takes images by a tool of its own, and that tool is not installed."""


class ImageLoadError(OperationsError):
    """A cluster's own tool did not load an image."""

    exit_code = 1


class ChainBroken(OperationsError):  # noqa: N818 - a state of what is proved
    """A link of a scale path did not move on a real cluster."""

    exit_code = 1


class ClusterReadError(OperationsError):
    """What the cluster does cannot be read."""


class KubeconfigError(ClusterReadError):
    """The kubeconfig is missing, broken, or uses what is not supported here."""


class NoNodeError(ClusterReadError):
    """No node is Ready, takes pods and has an address inside its network."""


class ClusterRefused(ClusterReadError):  # noqa: N818 - as above
    """The API server refused to show what was asked."""

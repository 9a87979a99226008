"""Groups of settings that several others have: what a container may use, and where it may go."""

from typing import Annotated

from berth_stacks.fields import Cidr, Name, Quantity, Settings, Whole, limits


class Resources(Settings):
    """CPU and memory of one container."""

    cpu_request: Quantity
    """CPUs that the scheduler reserves, such as 500m or 4. Without enough, a neighbour slows it."""
    memory_request: Quantity
    """Memory that the scheduler reserves, such as 16Gi."""
    memory_limit: Quantity
    """Memory above which the container is killed."""
    cpu_limit: Quantity | None = None
    """CPUs above which it is throttled; a CPU engine takes as many threads. Default: none."""


class Egress(Settings):
    """A place outside the pod that it may go to."""

    namespace: Name | None = None
    """All pods of this namespace. Either this or cidr."""
    cidr: Cidr | None = None
    """An address range, without the clouds' metadata addresses."""
    port: Annotated[Whole, limits(1, 65_535)]
    """TCP port."""

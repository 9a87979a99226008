"""What is said of a stack at one site. `None` stands for what is not known; `why` says why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berth.operations.diagnosis.facts import Alert


@dataclass(frozen=True, slots=True)
class Autoscaling:
    """An autoscaler: its limits, what it wants now, and by which metrics.

    Attributes:
        minimum, maximum: replicas.
        current: replicas that it counts.
        desired: replicas that it wants.
        metrics: name, value now and target, as Kubernetes writes them; "?" where it has none.
        at_maximum: whether it would scale further.
        blind: why it gets no metric; "" where it does.
    """

    minimum: int
    maximum: int
    current: int
    desired: int
    metrics: tuple[tuple[str, str, str], ...]
    at_maximum: bool
    blind: str = ""


@dataclass(frozen=True, slots=True)
class Load:
    """How loaded a server is, over all its replicas.

    Attributes:
        waiting, running, slots, places: requests in its queues and slots, slots, and requests that may be in
            flight.
        requests_per_second, tokens_per_second: answered requests and generated tokens; None where one look
            cannot tell.
        first_token_seconds: what `source` says: a percentile of Prometheus', or the gateways' mean.
        answered, failed: requests since the gateways began.
    """

    waiting: int
    running: int
    slots: int
    places: int
    requests_per_second: float | None
    tokens_per_second: float | None
    first_token_seconds: float | None
    answered: int
    failed: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A model server.

    Attributes:
        name, namespace: its Deployment's.
        model: the model's published name; revision: what says exactly which weights.
        engine: its name; variant: of the release.
        images: what runs by container: the reference, or the digest where the kubelet says it.
        rollout: number of the Deployment's revision; complete: whether every replica is of it.
        since: when the newest replica of it was made.
        ready, desired: replicas.
        autoscaling: None where nobody counts its replicas.
        load: None where no gateway could be asked.
        endpoint: where clients reach it; "" where nothing says so.
        why: what is not known of it, and why.
    """

    name: str
    namespace: str
    model: str
    revision: str
    engine: str
    variant: str
    images: Mapping[str, str]
    rollout: str
    complete: bool
    since: str
    ready: int
    desired: int
    autoscaling: Autoscaling | None
    load: Load | None
    endpoint: str
    why: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """Nodes that belong together: a pool's, or those of no pool.

    Attributes:
        name: the pool's; "" for nodes of no pool.
        nodes, ready: how many there are, and how many of them are Ready.
        accelerators: allocatable ones by resource.
        simulated: whether those exist for the scheduler only.
    """

    name: str
    nodes: int
    ready: int
    accelerators: Mapping[str, int] = field(default_factory=dict)
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class Machines:
    """Machines that cost, as the stack asks for them.

    Attributes:
        subject: `<site>/<pool>`, or `<site>/<model>` where a model has no pool.
        kind: what is priced, as a person reads it.
        selector: labels of its nodes; None where replicas are counted instead of nodes.
        server: the model whose replicas are counted.
        usd_per_hour: of one; None where nobody knows, and then `why` says so.
    """

    subject: str
    kind: str
    selector: Mapping[str, str] | None
    server: str = ""
    usd_per_hour: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Cost:
    """What the site's machines cost now, per hour.

    Attributes:
        usd_per_hour: the sum; None where one of its parts is not known.
        parts: subject, how many, and US dollars of one per hour.
        why: what is not known, and what would tell.
    """

    usd_per_hour: float | None
    parts: tuple[tuple[str, int | None, float | None], ...]
    why: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteStatus:
    """A stack at one site, at one moment.

    Attributes:
        reached: whether the API server answered; where it did not, `why` says what is missing, and the rest
            is empty.
        version: of Kubernetes.
        deployed: how the last run of the deployer ended, with time and who; "" where there is no record.
        alerts: those that fire, None where nobody could be asked; `alerts_from` says who was.
    """

    stack: str
    site: str
    server: str
    taken: str
    reached: bool
    version: str = ""
    deployed: str = ""
    servers: tuple[Server, ...] = ()
    groups: tuple[NodeGroup, ...] | None = None
    cost: Cost | None = None
    alerts: tuple[Alert, ...] | None = None
    alerts_from: str = ""
    why: tuple[str, ...] = ()

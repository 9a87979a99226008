"""What is watched, and by what: the facts that rules, routes and dashboards are computed from.

Pure: no Pulumi, no cluster. `Server` is a model at a site; `Parts` are the sources of series that are
deployed beside it. A rule, alert or panel is made only where its source is among the parts.

Scrape jobs, and the labels that they put on every series besides `job` and `instance`:

    berth-gateway           site, model, namespace, pod, variant    the gateway's metrics port
    berth-engine            site, model, namespace, pod, variant    the engine's own, through the gateway
    berth-metrics-adapter   site, namespace, pod
    berth-router            site, router, namespace, pod            Envoy's, of every router
    berth-router-controller site, router, namespace, pod            what tells Envoy, in the same pods
    berth-router-waiting    site, router, namespace, pod            what it holds for models without a replica
    berth-hybrid            site, router, namespace, pod, model     the controller of a hybrid router; here
                                                                    site is the one that a series is about
    kubernetes-cadvisor     site, node                              containers, from the kubelet
    kubernetes-kubelet      site, node                              volumes, certificates
    node                    site, node                              node exporter
    dcgm                    site, node                              GPUs, by NVIDIA's DCGM exporter
    kube-state-metrics      site                                    objects, their states
    prometheus, alertmanager, grafana, collector                    site
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

GATEWAY, ENGINE, ADAPTER = "berth-gateway", "berth-engine", "berth-metrics-adapter"
ROUTER, TELLER, HYBRID = "berth-router", "berth-router-controller", "berth-hybrid"
WAITING = "berth-router-waiting"
CADVISOR, KUBELET, NODE, DCGM = "kubernetes-cadvisor", "kubernetes-kubelet", "node", "dcgm"
KUBE_STATE, PROMETHEUS, ALERTMANAGER = "kube-state-metrics", "prometheus", "alertmanager"
COLLECTOR, GRAFANA = "collector", "grafana"
JOBS = (
    *(GATEWAY, ENGINE, ADAPTER, ROUTER, TELLER, WAITING, HYBRID, CADVISOR, KUBELET, NODE, DCGM),
    *(KUBE_STATE, PROMETHEUS, ALERTMANAGER, COLLECTOR, GRAFANA),
)
"""Every scrape job there can be."""

SERVER_LABELS = ("site", "namespace", "model", "variant")
"""What tells servers apart: `server:` in the name of a recorded series is by these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A model, served at a site.

    Attributes:
        site: key of the site.
        model: key of the model in the stack: the label `model`.
        namespace: where its objects are.
        name: of its Deployment, Service and autoscaler.
        engine: key in the catalogue, such as vllm.
        variant: the label `variant`.
        selector: labels of its pods.
        slots: requests that one replica's engine works on at once.
        places: requests in one replica, working plus waiting.
        min_replicas: fewest replicas; with 0 its router wakes it.
        max_replicas: most replicas; the same where nothing scales it.
        by_queue: whether its autoscaler follows the queue, so needs the metrics adapter.
        gpus: accelerators per replica.
        simulated_gpus: of these, how many are simulated.
        accelerator: key in the catalogue; "cpu" where it has none.
        spot: whether its pool's machines can be taken away.
        priced: whether a replica's cost per hour is told to the gateway.
        filtered: whether the gateway has filters.
        refusals: whether one of them, of category `refusal`, looks at answers: what counts refusals.
        tls: whether the gateway speaks TLS by a certificate of its own.
        startup_seconds: budget for loading the model.
    """

    site: str
    model: str
    namespace: str
    name: str
    engine: str
    variant: str = "main"
    selector: Mapping[str, str] = field(default_factory=dict)
    slots: int = 1
    places: int = 1
    min_replicas: int = 1
    max_replicas: int = 1
    by_queue: bool = False
    gpus: int = 0
    simulated_gpus: int = 0
    accelerator: str = "cpu"
    spot: bool = False
    priced: bool = False
    filtered: bool = False
    refusals: bool = False
    tls: bool = False
    startup_seconds: int = 60

    @property
    def autoscaled(self) -> bool:
        """Whether something changes the number of its replicas."""
        return self.max_replicas > self.min_replicas

    @property
    def sleeps(self) -> bool:
        """Whether it may have no replica: that none answers is no failure then."""
        return self.min_replicas == 0

    @property
    def labels(self) -> dict[str, str]:
        """What its series carry."""
        return {
            "site": self.site,
            "namespace": self.namespace,
            "model": self.model,
            "variant": self.variant,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What is deployed beside the model servers, and so which series there are.

    Attributes:
        jobs: scrape jobs, of `JOBS`; the gateway's is always there.
        absent: of those that are not: why, for whoever asks what is not watched.
        scrape_seconds: how often each is scraped.
        evaluation_seconds: how often rules are evaluated.
        remote_write: whether Prometheus sends its series elsewhere, too.
        pending_scale: what the time is multiplied by that an alert's condition must last (`for`). 1 is for
            production; less only where somebody is watching, such as a test. Windows of rates stay.
    """

    jobs: frozenset[str]
    absent: Mapping[str, str] = field(default_factory=dict)
    scrape_seconds: int = 15
    evaluation_seconds: int = 15
    remote_write: bool = False
    pending_scale: float = 1.0

    def has(self, job: str) -> bool:
        """Whether a scrape job is there."""
        return job == GATEWAY or job in self.jobs

    def reason(self, job: str) -> str:
        """Why a scrape job is not there."""
        return self.absent.get(job, f"{job} is not deployed")

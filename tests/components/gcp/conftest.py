"""Programs of components on Google Cloud, run without an engine; what they register is looked at."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pulumi
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]
SECRET_SIGNATURE = "4dabf18193072939515e22adb298388d"
PROJECT, NUMBER, REGION = "models-prod-1", "123456789012", "europe-west4"


THERE: Json = {
    "endpoint": "10.1.2.3",
    "masterAuths": [{"clusterCaCertificate": "Y2E="}],
    "controlPlaneEndpointsConfigs": [
        {"dnsEndpointConfigs": [{"allowExternalTraffic": True, "endpoint": "gke-0123.gke.example"}]}
    ],
    "enableAutopilot": False,
    "workloadIdentityConfigs": [{"workloadPool": f"{PROJECT}.svc.id.goog"}],
    "datapathProvider": "ADVANCED_DATAPATH",
    "networkPolicies": [],
}


@dataclass(frozen=True)
class Resource:
    """What a program registered, as it went over the wire."""

    type: str
    name: str
    inputs: Json
    provider: str


@dataclass
class Planned(pulumi.runtime.Mocks):
    """A cloud that has everything at once, or (in a preview) nothing yet."""

    preview: bool = False
    answer: Json = field(default_factory=dict)
    resources: list[Resource] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    providers_of_calls: list[str] = field(default_factory=list)

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, Json]:
        inputs = without_none(unwrap(args.inputs))
        self.resources.append(Resource(args.typ, args.name, inputs, args.provider or ""))
        if self.preview and not args.typ.startswith("pulumi:providers:"):
            return None, copy.deepcopy(args.inputs)
        return f"{args.name}-id", {**copy.deepcopy(args.inputs), **_outputs(args)}

    def call(self, args: pulumi.runtime.MockCallArgs) -> Json:
        self.calls.append(args.token)
        self.providers_of_calls.append(args.provider or "")
        if args.token == "gcp:organizations/getProject:getProject":
            return {"number": NUMBER, "projectId": args.args["projectId"], "id": "x"}
        assert args.token == "gcp:container/getCluster:getCluster", args.token
        return {**args.args, "id": "x", **copy.deepcopy(THERE), **self.answer}

    def of(self, kind: str) -> list[Resource]:
        """All resources whose type ends so, such as container/cluster:Cluster."""
        return [one for one in self.resources if one.type.endswith(kind)]

    def one(self, kind: str, name: str = "") -> Json:
        """The inputs of the one resource of that type whose name ends so."""
        found = [one for one in self.of(kind) if one.name.endswith(name)]
        assert len(found) == 1, f"{kind} {name}: {[one.name for one in found]}"
        return found[0].inputs

    @property
    def cluster(self) -> Json:
        return self.one("container/cluster:Cluster")

    def pool(self, name: str) -> Json:
        return self.one("container/nodePool:NodePool", name)

    def flat(self) -> str:
        """Everything as text, to see whether a change of args changes anything but labels."""
        return json.dumps(
            sorted([[one.type, one.name, one.inputs] for one in self.resources], key=lambda one: one[:2]),
            sort_keys=True,
        )


def _outputs(args: pulumi.runtime.MockResourceArgs) -> Json:
    if args.typ == "gcp:serviceaccount/account:Account":
        account = args.inputs["accountId"]
        email = f"{account}@{PROJECT}.iam.gserviceaccount.com"
        return {"email": email, "name": f"projects/{PROJECT}/serviceAccounts/{email}"}
    if args.typ == "gcp:container/cluster:Cluster":
        endpoints = copy.deepcopy(args.inputs["controlPlaneEndpointsConfig"])
        endpoints["dnsEndpointConfig"]["endpoint"] = "gke-4567.gke.example"
        return {
            "endpoint": "10.4.5.6",
            "controlPlaneEndpointsConfig": endpoints,
            "masterAuth": {**args.inputs["masterAuth"], "clusterCaCertificate": "Y2E="},
        }
    if args.typ == "gcp:kms/cryptoKey:CryptoKey":
        return {"id": f"projects/{PROJECT}/locations/{REGION}/keyRings/made/cryptoKeys/made"}
    return {}


def unwrap(value: Any) -> Any:
    """A value without the envelopes of secrets."""
    if isinstance(value, dict):
        if SECRET_SIGNATURE in value:
            return unwrap(value["value"])
        return {key: unwrap(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unwrap(item) for item in value]
    if isinstance(value, pulumi.output.Unknown):
        return "unknown"
    return int(value) if isinstance(value, float) and value.is_integer() else value


def without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    return [without_none(item) for item in value] if isinstance(value, list) else value


@pytest.fixture
def plan() -> Callable[..., Planned]:
    """Runs a program, which gets options with an explicit provider, and gives what it registered."""
    import pulumi_gcp as gcp  # noqa: PLC0415 - after the runtime's settings

    def run(
        program: Callable[[pulumi.ResourceOptions], object],
        *,
        preview: bool = False,
        answer: Json | None = None,
    ) -> Planned:
        """`answer`: what Google says of an existing cluster that is not as it should be."""
        planned = Planned(preview=preview, answer=answer or {})
        pulumi.runtime.set_mocks(planned, project="berth", stack="test", preview=preview)

        @pulumi.runtime.test
        def whole() -> object:
            provider = gcp.Provider("google", project=PROJECT, region=REGION)
            return program(pulumi.ResourceOptions(providers={"gcp": provider}))

        whole()
        return planned

    return run


def changed(base: Json, changes: Json) -> Json:
    """Args with changes by dotted path; None takes one away."""
    args = copy.deepcopy(base)
    for path, value in changes.items():
        *groups, key = path.split(".")
        place = args
        for group in groups:
            place = place.setdefault(group, {})
        if value is None:
            place.pop(key, None)
        else:
            place[key] = copy.deepcopy(value)
    return args


CLUSTER: Json = {"project": PROJECT, "location": REGION, "project_number": NUMBER}
POOL: Json = {
    "cluster": f"projects/{PROJECT}/locations/{REGION}/clusters/prod",
    "project": PROJECT,
    "location": REGION,
    "service_account": f"prod-nodes@{PROJECT}.iam.gserviceaccount.com",
    "accelerator": "nvidia-l4",
    "accelerators_per_node": 1,
    "max_nodes": 4,
}


@pytest.fixture
def cluster(plan: Callable[..., Planned]) -> Callable[..., Planned]:
    """Plans a cluster whose args are the least there are, with changes by dotted path."""
    from berth_components.gcp import GkeCluster  # noqa: PLC0415 - after the runtime's settings

    def run(changes: Json | None = None, name: str = "prod", **how: Any) -> Planned:
        return plan(lambda opts: GkeCluster(name, changed(CLUSTER, changes or {}), opts), **how)

    return run


@pytest.fixture
def pool(plan: Callable[..., Planned]) -> Callable[..., Planned]:
    """Plans a pool whose args are the least there are, with changes by dotted path."""
    from berth_components.gcp import GkeNodePool  # noqa: PLC0415 - after the runtime's settings

    def run(changes: Json | None = None, name: str = "l4", **how: Any) -> Planned:
        return plan(lambda opts: GkeNodePool(name, changed(POOL, changes or {}), opts), **how)

    return run


@pytest.fixture(autouse=True)
def _loop(pulumi_loop: None) -> None:
    """Let every test here run Pulumi programs, whichever tests ran before."""

"""Programs of components on AWS, run without an engine; what they register is looked at."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pulumi
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]
SECRET_SIGNATURE = "4dabf18193072939515e22adb298388d"
REGION = "eu-central-1"
ACCOUNT = "111122223333"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/nodes"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0123"
SUBNETS = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
GROUPS = ["sg-0123456789abcdef0"]
CLUSTER = {
    "arn": f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/found",
    "endpoint": "https://0123.gr7.eu-central-1.eks.example",
    "version": "1.34",
    "certificateAuthorities": [{"data": "Y2E="}],
    "vpcConfig": {
        "subnetIds": SUBNETS,
        "clusterSecurityGroupId": GROUPS[0],
    },
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
    resources: list[Resource] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, Json]:
        inputs = without_none(unwrap(args.inputs))
        self.resources.append(Resource(args.typ, args.name, inputs, args.provider or ""))
        if self.preview and not args.typ.startswith("pulumi:providers:"):
            return None, copy.deepcopy(args.inputs)
        outputs = {**_outputs(args.typ, args.name), **copy.deepcopy(args.inputs)}
        if args.typ == "aws:eks/cluster:Cluster":
            outputs["vpcConfig"] = {**outputs["vpcConfig"], "clusterSecurityGroupId": GROUPS[0]}
        return identifier(args.typ, args.name), outputs

    def call(self, args: pulumi.runtime.MockCallArgs) -> Json:
        self.calls.append(args.token)
        return {"aws:eks/getCluster:getCluster": {**CLUSTER, "name": args.args.get("name"), "id": "x"}}[
            args.token
        ]

    def of(self, kind: str) -> list[Resource]:
        """All resources whose type ends so, such as eks/cluster:Cluster."""
        return [one for one in self.resources if one.type.endswith(kind)]

    def one(self, kind: str, name: str = "") -> Json:
        """The inputs of the one resource of that type whose name ends so."""
        found = [one for one in self.of(kind) if one.name.endswith(name)]
        assert len(found) == 1, f"{kind} {name}: {[one.name for one in found]}"
        return found[0].inputs

    def statements(self, name: str) -> list[Json]:
        """The statements of a role's own policy."""
        found: list[Json] = json.loads(self.one("iam/rolePolicy:RolePolicy", name)["policy"])["Statement"]
        return found

    def flat(self) -> str:
        """Everything as text, to see whether a change of args changes anything."""
        return json.dumps(
            sorted([[one.type, one.name, one.inputs] for one in self.resources], key=lambda one: one[:2]),
            sort_keys=True,
        )


def identifier(kind: str, name: str) -> str:
    """The id that the cloud gives a resource."""
    if kind == "aws:ec2/subnet:Subnet":
        return f"subnet-{hashlib.sha256(name.encode()).hexdigest()[:17]}"
    return f"{name}-id"


def _outputs(kind: str, name: str) -> Json:
    arn = f"arn:aws:iam::{ACCOUNT}:role/{name}"
    known: dict[str, Json] = {
        "aws:eks/cluster:Cluster": {
            "arn": f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/{name}",
            "endpoint": CLUSTER["endpoint"],
            "certificateAuthority": {"data": "Y2E="},
        },
        "aws:eks/nodeGroup:NodeGroup": {"resources": [{"autoscalingGroups": [{"name": f"{name}-asg"}]}]},
        "aws:ec2/launchTemplate:LaunchTemplate": {"latestVersion": 3},
        "aws:iam/role:Role": {"arn": arn, "name": name},
        "aws:kms/key:Key": {"arn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{name}"},
    }
    return known.get(kind, {"arn": f"arn:aws:x:{REGION}:{ACCOUNT}:{name}", "name": name})


def unwrap(value: Any) -> Any:
    """A value without the envelopes of secrets."""
    if isinstance(value, dict):
        if SECRET_SIGNATURE in value:
            return unwrap(value["value"])
        return {key: unwrap(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unwrap(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    return [without_none(item) for item in value] if isinstance(value, list) else value


@pytest.fixture
def plan() -> Callable[..., Planned]:
    """Runs a program, which gets options with explicit providers, and gives what it registered."""
    import pulumi_aws as aws  # noqa: PLC0415 - half a second that other tests need not pay
    import pulumi_kubernetes as kubernetes  # noqa: PLC0415 - with the above

    def run(
        program: Callable[[pulumi.ResourceOptions], object], *, preview: bool = False, region: str = REGION
    ) -> Planned:
        planned = Planned(preview)
        pulumi.runtime.set_mocks(planned, project="berth", stack="test", preview=preview)

        def inner() -> object:
            cloud = aws.Provider("cloud", region=region)
            inside = kubernetes.Provider("inside", kubeconfig="{}")
            return program(pulumi.ResourceOptions(providers={"aws": cloud, "kubernetes": inside}))

        pulumi.runtime.test(inner)()
        return planned

    return run


BASES: dict[str, Json] = {
    "EksCluster": {
        "version": "1.34",
        "subnet_ids": SUBNETS,
        "admin_arns": [f"arn:aws:iam::{ACCOUNT}:role/platform"],
    },
    "EksNodePool": {
        "accelerator": "nvidia-l4",
        "accelerators_per_node": 1,
        "max_nodes": 4,
        "cluster_name": "berth",
        "node_role_arn": ROLE,
        "subnet_ids": SUBNETS,
    },
    "ClusterAutoscaler": {"cluster_name": "berth", "kubernetes_version": "1.34"},
    "EksWorkloadIdentity": {
        "cluster_name": "berth",
        "namespace": "room",
        "service_account": "chat",
        "statements": [{"actions": ["s3:GetObject"], "resources": ["arn:aws:s3:::weights/models/*"]}],
    },
    "SageMakerEndpoint": {
        "image": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/berth/sagemaker-vllm:1.0",
        "accelerator": "nvidia-a10g",
        "accelerators_per_instance": 1,
        "scaling": {"min_instances": 2, "max_instances": 6, "target": 4},
        "alarms": {"action_arns": [f"arn:aws:sns:{REGION}:{ACCOUNT}:oncall"]},
    },
}


@pytest.fixture
def make(plan: Callable[..., Planned]) -> Callable[..., Planned]:
    """Runs a program with one component, whose args are a base with changes by dotted path."""
    from berth_components import aws as components  # noqa: PLC0415 - with the SDK, see above

    def run(component: str, changes: Json | None = None, **how: Any) -> Planned:
        args = changed(component, changes or {})
        name = "l4" if component == "EksNodePool" else "berth"
        return plan(lambda opts: getattr(components, component)(name, args, opts), **how)

    return run


@pytest.fixture
def args_of() -> Callable[[str, Json], Json]:
    """A component's base args with changes."""
    return changed


def changed(component: str, changes: Json) -> Json:
    """A component's base args with changes by dotted path; None takes one away."""
    args = copy.deepcopy(BASES[component])
    for path, value in changes.items():
        *groups, key = path.split(".")
        place = args
        for group in groups:
            place = place.setdefault(group, {})
        if value is None:
            place.pop(key, None)
        else:
            place[key] = copy.deepcopy(value) if isinstance(value, dict) else value
    return args

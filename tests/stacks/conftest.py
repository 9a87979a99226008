"""Stacks, run from settings without an engine."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi.runtime.config
import pytest
import yaml
from berth_stacks import program
from berth_stacks.load import Loaded, read

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

Json = dict[str, Any]
API_KEY = "canary-0123456789abcdef"
ROLES = (
    *("model-server", "engine-llama-cpp", "weights-smollm2", "metrics-adapter"),
    *("prometheus", "alertmanager", "node-exporter"),
)
DIGEST = "sha256:" + "a" * 64  # a fixture: no such image exists
SECRET_SIGNATURE = "4dabf18193072939515e22adb298388d"
# Fixtures: what clouds would answer of clusters that are there already, and of a project.
CALLS: dict[str, Json] = {
    "aws:eks/getCluster:getCluster": {
        "id": "there",
        "arn": "arn:aws:eks:eu-central-1:111122223333:cluster/there",
        "endpoint": "https://there.example",
        "version": "1.35",
        "certificateAuthorities": [{"data": "Y2E="}],
        "vpcConfig": {"subnetIds": ["subnet-0123456789abcdef0"], "clusterSecurityGroupId": "sg-01234567"},
    },
    "gcp:container/getCluster:getCluster": {
        "id": "there",
        "endpoint": "10.1.2.3",
        "masterAuths": [{"clusterCaCertificate": "Y2E="}],
        "controlPlaneEndpointsConfigs": [
            {"dnsEndpointConfigs": [{"allowExternalTraffic": True, "endpoint": "there.example"}]}
        ],
        "enableAutopilot": False,
        "workloadIdentityConfigs": [{"workloadPool": "models-prod-1.svc.id.goog"}],
        "datapathProvider": "ADVANCED_DATAPATH",
        "networkPolicies": [],
    },
    "gcp:organizations/getProject:getProject": {"id": "there", "number": "123456789012"},
}


@dataclass
class Run(pulumi.runtime.Mocks):
    """What a stack registered and put out."""

    preview: bool = False
    others: Mapping[str, Json] = field(default_factory=dict)
    resources: list[pulumi.runtime.MockResourceArgs] = field(default_factory=list)
    outputs: Json = field(default_factory=dict)

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, Json]:
        self.resources.append(args)
        if args.typ == "pulumi:pulumi:StackReference":
            other = self.others[args.inputs["name"]]
            return args.name, {"name": args.inputs["name"], "outputs": other, "secretOutputNames": []}
        if self.preview and not args.typ.startswith("pulumi:providers:"):
            state = copy.deepcopy(args.inputs)
            if args.typ == "aws:eks/cluster:Cluster":
                state["vpcConfig"]["clusterSecurityGroupId"] = "sg-01234567"
            return None, state
        return f"{args.name}-id", dict(args.inputs)

    def call(self, args: pulumi.runtime.MockCallArgs) -> Json:
        assert args.token in CALLS, f"a stack must not look up {args.token}"
        return {**args.args, **CALLS[args.token]}

    @property
    def objects(self) -> list[Json]:
        return [json.loads(json.dumps(r.inputs)) for r in self.resources if r.typ.startswith("kubernetes:")]

    def one(self, kind: str, name: str) -> Json:
        found = [o for o in self.objects if o["kind"] == kind and o["metadata"]["name"] == name]
        assert len(found) == 1, [(o["kind"], o["metadata"]["name"]) for o in self.objects]
        return found[0]

    def of(self, kind: str) -> list[Json]:
        """The inputs of every resource whose type ends so, such as eks/cluster:Cluster."""
        return [plain(one.inputs) for one in self.resources if one.typ.endswith(kind)]


def plain(value: Any) -> Any:
    """Inputs without the envelopes of secrets; what a preview does not know as "unknown"."""
    if isinstance(value, dict):
        if SECRET_SIGNATURE in value:
            return plain(value["value"])
        return {key: plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, pulumi.output.Unknown):
        return "unknown"
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _overlay(site: str = "local", *, registry: str = "berth.local", digest: bool = False) -> dict[str, str]:
    """What the command lays over a stack's file."""
    version = f"@{DIGEST}" if digest else ":fixture"
    refs = {role: f"{registry}/{role}{version}" for role in ROLES}
    connections = {site: {"kubeconfig": "fixture.kubeconfig", "nodeAddress": "198.18.0.2"}}
    return {
        "berth:connections": json.dumps(connections),
        "berth:images": json.dumps({"refs": refs}),
        "berth:apiKeys": json.dumps({"tester": API_KEY}),
    }


def config_of(text: str) -> dict[str, str]:
    """A stack file's settings as Pulumi hands them to a program."""
    config = yaml.load(text, yaml.CSafeLoader)["config"]
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}


@pytest.fixture
def folder(tmp_path: Path, root: Path) -> Path:
    """A folder of stacks with the shipped bases."""
    shutil.copytree(root / "stacks" / "bases", tmp_path / "bases")
    return tmp_path


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Runs a stack whose file has the given text; `extra` is laid over it."""
    monkeypatch.delenv("PULUMI_CONFIG", raising=False)

    def start(
        text: str,
        extra: Mapping[str, str] | None = None,
        stack: str = "local",
        secret: Sequence[str] = ("berth:apiKeys",),
        *,
        preview: bool = False,
        others: Mapping[str, Json] | None = None,
    ) -> Run:
        file = folder / f"Pulumi.{stack}.yaml"
        file.write_text(text)
        done = Run(preview, others or {})
        pulumi.runtime.set_mocks(done, project="berth", stack=stack, preview=preview)
        given = _overlay() if extra is None else extra
        pulumi.runtime.set_all_config({**config_of(text), **given}, [*secret])

        def stack_program() -> pulumi.Output[None]:
            exported: Json = {}
            monkeypatch.setattr(pulumi, "export", exported.__setitem__)
            program.main(folder)
            return pulumi.Output.from_input(exported).apply(done.outputs.update)

        pulumi.runtime.test(stack_program)()
        return done

    return start


@pytest.fixture
def load(folder: Path) -> Callable[..., Loaded]:
    """Reads the settings of a stack whose file has the given text, without running it."""

    def start(
        text: str,
        extra: Mapping[str, str] | None = None,
        stack: str = "local",
        secret: Sequence[str] = ("berth:apiKeys",),
    ) -> Loaded:
        (folder / f"Pulumi.{stack}.yaml").write_text(text)
        given = _overlay() if extra is None else extra
        return read(folder, stack, {**config_of(text), **given}, frozenset(secret))

    return start


@pytest.fixture
def overlay() -> Callable[..., dict[str, str]]:
    """What the command lays over a stack's file."""
    return _overlay


@pytest.fixture(autouse=True)
def _loop(pulumi_loop: None) -> None:
    """Let every test here run Pulumi programs, whichever tests ran before."""

"""Programs for AWS, Google and others, planned where there is no plugin, no account and no network."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from berth.deployer import (
    UNKNOWN,
    ConfigError,
    Interpreter,
    Op,
    Recorded,
    Report,
    RunRequest,
    Secret,
    down,
    load_recorded,
    preview,
    previews,
    render,
    summary,
    up,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAMS = Path(__file__).with_name("programs")
CANARY = "canary-7d1f"
RECORDED = Recorded(
    (
        {
            "token": "aws:index/getAvailabilityZones:getAvailabilityZones",
            "args": {"state": "available"},
            "result": {"names": ["eu-west-1a", "eu-west-1b"]},
        },
        {
            "token": "aws:iam/getPolicyDocument:getPolicyDocument",
            "args": {"statements": [{"actions": ["s3:GetObject"], "resources": ["*"]}]},
            "result": {"json": '{"Statement": "recorded"}'},
        },
    ),
    {"network/prod": {"outputs": {"vpc": "vpc-1", "token": CANARY}, "secretOutputNames": ["token"]}},
)
PRELOAD = ["pulumi_aws.ec2", "pulumi_aws.eks", "pulumi_gcp.container", "pulumi_kubernetes.core.v1"]


def request(program: str, stack: str = "dev", **options: Any) -> RunRequest:
    config, secret = {"demo:password": CANARY}, frozenset({"demo:password"})
    options = {"offline": True, "recorded": RECORDED, **options}
    return RunRequest(PROGRAMS / f"{program}.py", "demo", stack, config, secret, **options)


@pytest.fixture(scope="module")
def clouds() -> tuple[dict[str, Report], list[str]]:
    """Plan every program twice, two at a time, from one warm process; and what was told meanwhile."""
    told: list[str] = []
    names = ["aws_stack", "gcp_stack", "composed"]
    requests = [request(name, stack) for stack in ("dev", "dev") for name in names]
    interpreter = Interpreter(preload=PRELOAD)
    try:
        reports = asyncio.run(
            previews(requests, interpreter=interpreter, on_event=lambda _, event: told.append(str(event)))
        )
    finally:
        interpreter.close()
    keys = [*names, *(f"{name} again" for name in names)]
    return dict(zip(keys, reports, strict=True)), told


@pytest.fixture
def aws(clouds: tuple[dict[str, Report], list[str]]) -> Report:
    return clouds[0]["aws_stack"]


@pytest.fixture
def gcp(clouds: tuple[dict[str, Report], list[str]]) -> Report:
    return clouds[0]["gcp_stack"]


def test_what_aws_would_compute_is_unknown_wherever_it_stands(aws: Report) -> None:
    assert aws.ok, render(aws)
    known = {name: value for name, value in aws.outputs.items() if value is not UNKNOWN}
    assert known == {
        "cidr": "10.0.0.0/16",
        "document": '{"Statement": "recorded"}',
        "existing id": "other-cluster",
        "first zone": "eu-west-1a",
        "limit": 1,
        "max": 4,
        "name": "cluster main",
        "private": True,
        "zone": "eu-west-1a",
        "robot key": Secret(UNKNOWN),
        "database": Secret(UNKNOWN),
    }
    unknown = set(aws.outputs) - set(known)
    assert {"vpc", "ca", "issuer", "sg", "group", "endpoint state", "existing", "hostname"} <= unknown


def test_what_google_would_compute_is_unknown_wherever_it_stands(gcp: Report) -> None:
    assert gcp.ok, render(gcp)
    known = {name: value for name, value in gcp.outputs.items() if value is not UNKNOWN}
    assert known == {
        "channel": "REGULAR",
        "driver": "LATEST",
        "pool": "demo.svc.id.goog",
        "range": "10.4.0.0/14",
        "shared": "vpc-1",
        "shared secret": Secret(CANARY),
    }
    assert {"ca", "endpoint", "disk", "partition", "email", "volume", "project"} == set(gcp.outputs) - set(
        known
    )


def test_each_step_says_that_its_provider_was_not_asked(aws: Report) -> None:
    steps = {f"{step.type}::{step.name}": step for step in aws.steps}
    cloud = [step for step in aws.steps if step.type.startswith("aws:")]
    assert len(cloud) == 18
    assert {step.op for step in cloud} == {Op.CREATE, Op.READ}
    assert {step.note for step in cloud} == {"planned without the provider"}
    assert all(step.providerless for step in cloud)
    inside = steps["kubernetes:core/v1:Service::web"]
    assert (inside.note, inside.providerless) == ("planned without the cluster", False)
    for layout in ("tree", "flat"):
        text = render(aws, layout=layout)
        assert text.count("create (no provider)") == 17  # the 18th is only read
        assert "no provider: 18 planned without the provider" in text
        assert "no cluster: 2 planned without the cluster" in text
    assert render(aws, diff=True).count("\n      planned without the provider\n") == 17
    found = [step for step in aws.to_json()["steps"] if step["plannedWithoutProvider"]]
    assert [step["note"] for step in found] == ["planned without the provider"] * 18


def test_references_options_and_parents_are_kept(
    aws: Report, clouds: tuple[dict[str, Report], list[str]]
) -> None:
    steps = {f"{step.type}::{step.name}": step for step in aws.steps}
    urn = {name: step.urn for name, step in steps.items()}
    subnet, cluster = steps["aws:ec2/subnet:Subnet::net-0"], steps["aws:eks/cluster:Cluster::main"]
    assert subnet.references["vpcId"] == (urn["aws:ec2/vpc:Vpc::net"],)
    assert subnet.inputs == {
        "availabilityZone": "eu-west-1a",
        "cidrBlock": "10.0.0.0/24",
        "vpcId": "[unknown]",
    }
    assert "+ vpcId: [unknown] from aws:ec2:Vpc net" in render(aws, diff=True)
    assert urn["aws:iam/rolePolicyAttachment:RolePolicyAttachment::control-eks"] in cluster.dependencies
    assert cluster.aliases == ("urn:pulumi:dev::demo::aws:eks/cluster:Cluster::old-main",)
    assert cluster.provider == urn["pulumi:providers:aws::here"]
    assert steps["aws:kms/key:Key::secrets"].protect
    composed = clouds[0]["composed"]
    assert composed.outputs == {"arn": UNKNOWN, "days": 3}
    assert [line.split("  create")[0].rstrip() for line in render(composed).splitlines()[:4]] == [
        " +  Stack demo-dev",
        " +  └─ demo:storage:Group group",
        " +     └─ other:storage:Bucket group-one",
        " +        └─ other:storage:Bucket group-two",
    ]
    flat = render(composed, layout="flat").splitlines()
    assert flat[0] == " +  other:storage:Bucket group-one  create (no provider)"


def test_no_secret_is_in_any_form_of_the_report(clouds: tuple[dict[str, Report], list[str]]) -> None:
    reports, told = clouds
    texts = list(told)
    for report in reports.values():
        texts += [render(report, layout=how, diff=True, same=True) for how in ("tree", "flat")]
        texts.append(json.dumps(report.to_json()))
    assert sum(text.count("canary-") for text in texts) == 0
    assert '"secretData": "[secret]"' in json.dumps(reports["gcp_stack"].to_json())
    assert '"password": "[secret]"' in json.dumps(reports["aws_stack"].to_json())


def test_the_same_plan_gives_the_same_bytes(clouds: tuple[dict[str, Report], list[str]]) -> None:
    reports, _ = clouds
    for name in ("aws_stack", "gcp_stack", "composed"):
        first, second = reports[name], reports[f"{name} again"]
        assert json.dumps(first.to_json()) == json.dumps(second.to_json())
        assert render(first, diff=True, same=True) == render(second, diff=True, same=True)
        assert max(map(len, render(first, diff=True).splitlines())) <= 80


def test_the_json_is_what_its_schema_says(root: Path, clouds: tuple[dict[str, Report], list[str]]) -> None:
    schema = json.loads((root / "docs" / "plan.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    for report in clouds[0].values():
        check.validate(report.to_json())
    failed = Report("up", "demo", "dev", ok=False)
    check.validate(failed.to_json())
    with pytest.raises(jsonschema.ValidationError, match="surprise"):
        check.validate({**failed.to_json(), "surprise": 1})


def test_many_stacks_are_summed_up_in_one_table(clouds: tuple[dict[str, Report], list[str]]) -> None:
    bad = Report("preview", "demo", "prod-eu", ok=False)
    head, aws, _, other = summary([clouds[0]["aws_stack"], clouds[0]["gcp_stack"], bad]).splitlines()
    assert head == "stack    create update replace delete same no-provider errors warnings  ok"
    assert aws.split() == ["dev", "19", "-", "-", "-", "-", "18", "-", "-", "yes"]
    assert other.split() == ["prod-eu", *"--------", "NO"]
    assert len(head) <= 80


@pytest.mark.parametrize("command", [up, down])
async def test_it_is_not_deployed_and_the_message_says_by_what(
    command: Any, interpreter: Interpreter
) -> None:
    told: list[str] = []
    asked = request("composed", offline=False)
    report = await command(asked, interpreter=interpreter, on_event=lambda event: told.append(event.kind))
    assert [error.code for error in report.errors] == ["refused"]
    assert "other:storage/bucket:Bucket 'group-one'" in report.errors[0].message
    assert "--engine pulumi" in report.errors[0].message
    assert not report.ok
    assert report.changes == []
    assert "started" not in told


async def test_a_function_that_needs_its_answer_at_once(
    write: Callable[[str], Path], interpreter: Interpreter
) -> None:
    program = write("""
        import pulumi_aws as aws
        zones = aws.get_availability_zones(state="available")
        pulumi.export("zones", zones.names)
    """)
    missing = await preview(RunRequest(program, "demo", "dev", offline=True), interpreter=interpreter)
    (error,) = missing.errors
    assert "get_availability_zones_output()" in error.message
    assert '"token": "aws:index/getAvailabilityZones:getAvailabilityZones"' in error.message
    assert '"args": {"state": "available"}' in error.message
    assert "recorded.yaml" in error.message
    assert "line 6" in error.message or "line 7" in error.message
    recorded = RunRequest(program, "demo", "dev", offline=True, recorded=RECORDED)
    assert (await preview(recorded, interpreter=interpreter)).outputs["zones"] == ["eu-west-1a", "eu-west-1b"]


async def test_another_stack_that_nobody_knows_is_unknown_in_a_preview_only(
    write: Callable[[str], Path], interpreter: Interpreter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    program = write("""
        other = pulumi.StackReference("organization/network/prod")
        pulumi.export("vpc", pulumi.Output.concat("in ", other.require_output("vpc")))
        pulumi.export("part", other.get_output("map")["a"])
    """)
    asked = RunRequest(program, "demo", "dev")
    report = await preview(asked, interpreter=interpreter)
    assert report.ok, render(report)
    assert report.outputs == {"vpc": UNKNOWN, "part": UNKNOWN}
    assert [message.code for message in report.diagnostics] == ["reference"]
    refused = await up(asked, interpreter=interpreter)
    assert "'organization/network/prod' was not found" in refused.errors[0].message


async def test_stacks_beside_each_other_do_not_disturb_each_other(tmp_path: Path) -> None:
    bodies = {
        "good": "import pulumi\npulumi.export('a', 1)",
        "crash": "import os\nos.abort()",
        "raise": "raise ValueError('broken')",
        "loop": "while True: pass",
        "after": "import pulumi, os\npulumi.export('a', os.environ.get('LEFT', 'clean'))",
        "leave": "import pulumi, os\nos.environ['LEFT'] = 'dirt'\npulumi.leftover = 1\npulumi.export('a', 2)",
    }
    requests = []
    for name, body in bodies.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__main__.py").write_text(body)
        requests.append(RunRequest(tmp_path / name, "demo", name, offline=True, idle_seconds=3.0))
    reports = await previews(requests)
    assert [report.stack for report in reports] == list(bodies)
    assert [report.ok for report in reports] == [True, False, False, False, True, True]
    assert [report.outputs.get("a") for report in reports] == [1, None, None, None, "clean", 2]
    said = [report.errors[0].message for report in reports if not report.ok]
    assert "killed by signal 6" in said[0]
    assert "broken" in said[1]
    assert "did nothing for 3 s" in said[2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("invokes: {a: 1}", "`invokes` is a list"),
        ("invoke: []", "'invoke' is not known"),
        ("invokes: [{token: 'aws:x:y'}]", "invokes[0]: `result` is missing"),
        ("invokes: [{token: 'getZones', result: {}}]", "'getZones' is no function's token"),
        ("invokes: [{token: 'aws:x:y', result: {}, argument: {}}]", "'argument' is not known"),
        ("invokes: [{token: 'aws:x:y', result: [1]}]", "invokes[0].result is no mapping"),
        ("stacks: {a: {vpc: 1}}", "stacks['a']: 'vpc' is not known"),
    ],
)
def test_a_malformed_record_is_named(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: demo\nruntime: python\n")
    (tmp_path / "recorded.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_recorded(tmp_path, "dev")
    assert expected in str(caught.value)
    assert "recorded.yaml" in str(caught.value)


def test_a_stacks_own_record_goes_first(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: demo\nruntime: python\n")
    entry = "invokes: [{{token: 'aws:x:y', args: {args}, result: {{from: {name}}}}}]\n"
    stacks = "stacks: {{demo/net: {{outputs: {{a: {name}}}}}}}\n"
    for name, args in (("recorded", "{}"), ("recorded.dev", "{a: {b: [1]}}")):
        (tmp_path / f"{name}.yaml").write_text(entry.format(name=name, args=args) + stacks.format(name=name))
    found = load_recorded(tmp_path, "dev")
    assert found.answer("aws:x:y", {"a": {"b": [1]}, "c": Secret(2)}) == {"from": "recorded.dev"}
    assert found.answer("aws:x:y", {"a": {"b": [2]}}) == {"from": "recorded"}
    assert found.answer("aws:x:z", {}) is None
    assert found.outputs("organization", "demo", "net") == {"a": "recorded.dev"}
    assert found.outputs("organization", "demo", "organization/demo/net") == {"a": "recorded.dev"}
    assert found.outputs("organization", "other", "net") is None
    assert load_recorded(tmp_path, "prod").outputs("organization", "demo", "net") == {"a": "recorded"}

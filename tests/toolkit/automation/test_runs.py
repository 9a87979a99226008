"""What the four commands report and leave behind, with a stand-in for the Pulumi CLI."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from berth import automation
from berth.automation import Options
from berth.deployer import ConfigError, DeployError, Event, Op, Secret, render

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STACK = "urn:pulumi:dev::demo::pulumi:pulumi:Stack::demo-dev"
APP = "urn:pulumi:dev::demo::demo:app:App::web"
WEB = "urn:pulumi:dev::demo::demo:app:App$kubernetes:apps/v1:Deployment::web"
POOL = "urn:pulumi:dev::demo::aws:eks/nodeGroup:NodeGroup::gpus"
OLD = "urn:pulumi:dev::demo::kubernetes:core/v1:ConfigMap::old"
PROVIDER = "urn:pulumi:dev::demo::pulumi:providers:aws::aws"
CANARY = "canary-2c8d-never-shown"
SUMMARY = {"summaryEvent": {"maybeCorrupt": False, "durationSeconds": 1, "resourceChanges": {"create": 1}}}


@pytest.fixture
def events(step: Callable[..., Any], describe: Callable[..., Any]) -> list[dict[str, Any]]:
    web = {"metadata": {"name": "web", "namespace": "models"}, "spec": {"replicas": 2, "paused": None}}
    before = {**web, "spec": {"replicas": 1}}
    secret = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "x"}
    unknown = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
    pool = {"instanceTypes": ["g6.xlarge"], "userData": secret, "clusterName": unknown}
    outputs = {"url": "http://web", "token": "[secret]"}
    return [
        *step("same", STACK, describe(STACK, outputs={"url": "old"}), describe(STACK, outputs=outputs)),
        *step("create", APP, None, describe(APP)),
        *step("same", PROVIDER, describe(PROVIDER), describe(PROVIDER)),
        *step(
            "update",
            WEB,
            describe(WEB, inputs=before, outputs=before, parent=APP),
            describe(WEB, inputs=web, parent=APP),
            detailedDiff={"spec.replicas": {"diffKind": "update", "inputDiff": True}},
        ),
        *step(
            "create-replacement",
            POOL,
            describe(POOL, inputs={**pool, "instanceTypes": ["g5.xlarge"]}),
            describe(POOL, inputs=pool),
            keys=["instanceTypes"],
            detailedDiff={"instanceTypes[0]": {"diffKind": "update-replace", "inputDiff": True}},
        ),
        *step("replace", POOL, describe(POOL), describe(POOL, inputs=pool)),
        *step("delete-replaced", POOL, describe(POOL), None),
        *step("delete", OLD, describe(OLD, inputs={"metadata": {"name": "old", "namespace": "models"}})),
        {"diagnosticEvent": {"severity": "debug", "message": "noise", "color": "raw"}},
        {"diagnosticEvent": {"severity": "info", "message": "printed\n", "color": "raw", "streamId": 7}},
        {
            "diagnosticEvent": {
                "severity": "warning",
                "prefix": "<{%fg 3%}>warning: <{%reset%}>",
                "message": f"<{{%reset%}}>old API; the key is {CANARY}\n",
                "color": "raw",
                "urn": WEB,
            }
        },
        {
            "policyEvent": {
                "message": "spot is not for production",
                "color": "raw",
                "policyName": "no-spot",
                "policyPackName": "berth",
                "policyPackVersion": "0.1",
                "enforcementLevel": "advisory",
                "resourceUrn": POOL,
            }
        },
        SUMMARY,
    ]


@pytest.mark.parametrize("version", ["v3.272.0+berth.stand-in", "v3.180.0+berth.stand-in"])
async def test_preview_reports_what_the_engine_tells(world: Any, events: Any, version: str) -> None:
    world.knows()
    world.set(preview=events, version=version)
    seen: list[Event] = []
    request = world.request({"demo:key": CANARY}, ("demo:key",))
    report = await world.preview(request, on_event=seen.append)
    assert report.ok, report.errors
    steps = {step.urn: step for step in report.steps}
    assert {(step.urn, step.op) for step in report.changes} == {
        (POOL, Op.REPLACE),
        (OLD, Op.DELETE),
        (WEB, Op.UPDATE),
    }
    order = [step.urn for step in report.steps]
    assert order.index(WEB) == order.index(APP) + 1
    assert steps[WEB].object == "Deployment models/web"
    assert steps[WEB].parent == APP
    change = steps[WEB].changes[0]
    assert (change.path, change.kind, change.before, change.after) == ("spec.replicas", "update", 1, 2)
    assert steps[POOL].replace_reasons == ("instanceTypes[0]",)
    assert steps[POOL].inputs["userData"] == "[secret]"
    assert steps[POOL].inputs["clusterName"] == "[unknown]"
    assert not steps[PROVIDER].custom
    assert report.summary == {"delete": 1, "replace": 1, "update": 1}
    assert report.program_output == "printed\n"
    assert report.output_changes == {"token": "add", "url": "update"}
    assert report.outputs["url"] == "http://web"
    messages = [(d.severity, d.code) for d in report.diagnostics]
    assert messages == [("warning", "program")]
    found = [(r.pack, r.policy, r.level, r.status, r.urn, r.message) for r in report.policy_results]
    assert found == [("berth", "no-spot", "advisory", "violated", POOL, "spot is not for production")]
    assert report.diagnostics[0].message == "old API; the key is [secret]"
    assert {event.kind for event in seen} >= {"phase", "planned", "message"}
    assert "Deployment models/web" in {event.object for event in seen}


async def test_reports_render_and_serialise_like_the_deployers(world: Any, events: Any, root: Path) -> None:
    world.knows()
    world.set(preview=events)
    report = await world.preview(world.request({"demo:key": CANARY}, ("demo:key",)))
    text = render(report, diff=True)
    assert "+- " in text
    assert "because of instanceTypes[0]" in text
    assert "spec.replicas" in text
    document = report.to_json()
    schema = json.loads((root / "docs" / "plan.schema.json").read_text())
    jsonschema.validate(document, schema)
    assert document["engine"] == "pulumi"
    assert document["changeSummary"] == {"delete": 1, "replace": 1, "update": 1}
    assert CANARY not in text + json.dumps(document)


async def test_an_up_reports_outputs_and_keeps_secret_ones_secret(world: Any, events: Any) -> None:
    world.knows()
    outputs = {"url": {"value": "http://web"}, "token": {"value": CANARY, "secret": True}}
    world.set(up=events, outputs=outputs)
    seen: list[Event] = []
    request = world.request({"demo:key": CANARY}, ("demo:key",))
    report = await world.up(request, on_event=seen.append)
    assert report.ok, report.errors
    assert report.outputs == {"url": "http://web", "token": Secret(CANARY)}
    everything = json.dumps(report.to_json()) + render(report) + repr(report) + repr(seen)
    assert CANARY not in everything
    finished = [event.message for event in seen if event.kind == "finished" and event.op == "update"]
    assert finished[0].startswith("updated Deployment models/web (")
    assert await automation.outputs(world.request()) == {"token": Secret(CANARY), "url": "http://web"}


async def test_the_overlay_reaches_the_run_and_the_users_file_stays(world: Any, events: Any) -> None:
    before = world.stack_file.read_text()
    world.knows()
    world.set(up=events)
    config = {
        "demo:greeting": "hello",  # as in the file: no overlay
        "demo:refs": '{"server": "r/s@sha256:1"}',
        "demo:key": f"{CANARY}\n",
        "demo:plain": "yes",
    }
    report = await world.up(world.request(config, ("demo:key",)))
    assert report.ok, report.errors
    assert world.stack_file.read_text() == before
    given = world.operations()[-1]["config"]
    assert given["demo:refs"] == config["demo:refs"]
    assert given["demo:key"] == f"{CANARY}\n"
    assert given["demo:plain"] == "yes"
    assert given["demo:zone"] == "012"
    assert given["demo:nested"] == {"a": [1, 2.5, True], "b": None}  # as PyYAML reads the text that was kept
    argvs = [entry["argv"] for entry in world.asked() if "argv" in entry]
    assert all(CANARY not in " ".join(argv) for argv in argvs)
    files = {argv[argv.index("--config-file") + 1] for argv in argvs if "--config-file" in argv}
    assert len(files) == 1
    assert not world.there(files.pop())


async def test_without_an_overlay_the_cli_reads_the_users_own_file(world: Any, events: Any) -> None:
    world.knows()
    world.set(preview=events)
    assert (await world.preview(world.request({"demo:greeting": "hello"}))).ok
    assert all("--config-file" not in entry.get("argv", ()) for entry in world.asked())


async def test_which_stack_the_user_selected_is_left_alone(world: Any, events: Any) -> None:
    world.set(preview=events)
    await world.preview(world.request(), options=Options(create=True, secrets_provider="passphrase"))
    commands = [" ".join(entry["argv"]) for entry in world.asked() if "argv" in entry]
    assert not [command for command in commands if " select" in command.replace("--no-select", "")]
    assert any("stack init dev --no-select --secrets-provider passphrase" in c for c in commands)


async def test_a_missing_stack_is_made_only_where_that_is_asked_for(world: Any, events: Any) -> None:
    world.set(preview=events)
    with pytest.raises(automation.NoStack, match=r"no stack 'dev'.*--create"):
        await world.preview(world.request())
    assert not (world.home / "backend.json").exists()
    assert (await world.preview(world.request(), options=Options(create=True))).ok


@pytest.mark.parametrize(
    ("mistake", "error", "text"),
    [
        ("login", automation.NotLoggedIn, "PULUMI_BACKEND_URL"),
        ("passphrase", automation.Passphrase, "is wrong"),
        ("no-passphrase", automation.Passphrase, "set PULUMI_CONFIG_PASSPHRASE"),
    ],
)
async def test_what_keeps_a_run_from_beginning_is_one_clear_error(
    world: Any, mistake: str, error: type[DeployError], text: str
) -> None:
    world.knows()
    world.set(mistakes=[mistake])
    with pytest.raises(error, match=text) as caught:
        await world.up(world.request())
    assert "\n" not in str(caught.value)
    assert not world.operations()


@pytest.mark.parametrize(
    ("mistake", "code", "parts"),
    [
        ("locked", "locked", ["ada on build-7 (process 4242) since 2026-11-23T09:30:00Z", "pulumi cancel"]),
        ("conflict", "locked", ["somebody else", "pulumi cancel --stack dev"]),
        ("plugin", "plugin", ["pulumi-resource-aws v7.51.1", "pulumi plugin install resource aws v7.51.1"]),
    ],
)
async def test_what_stops_a_run_is_one_diagnostic(
    world: Any, mistake: str, code: str, parts: list[str]
) -> None:
    world.knows()
    world.set(mistakes=[mistake], up=[])
    report = await world.up(world.request())
    assert not report.ok
    (message,) = report.errors
    assert message.code == code
    assert all(part in message.message for part in parts), message.message


async def test_a_failed_resource_is_named_once(
    world: Any, step: Callable[..., Any], describe: Callable[..., Any]
) -> None:
    (begun, done) = step("create", POOL, None, describe(POOL))
    failed = {"resOpFailedEvent": {**done["resOutputsEvent"], "status": 1, "steps": 1}}
    why = {"diagnosticEvent": {"severity": "error", "message": "no capacity", "color": "raw", "urn": POOL}}
    world.knows()
    world.set(mistakes=["update"], up=[begun, why, failed, SUMMARY])
    report = await world.up(world.request())
    assert not report.ok
    assert not report.cancelled
    assert [(d.message, d.urn, d.code) for d in report.errors] == [("no capacity", POOL, "resource")]
    assert report.changes[0].note == "failed"


async def test_stopping_ends_the_run_in_order_with_one_signal(
    world: Any, step: Callable[..., Any], describe: Callable[..., Any]
) -> None:
    (begun, done) = step("create", POOL, None, describe(POOL))
    (left, _) = step("create", OLD, None, describe(OLD))
    world.knows()
    world.set(up=[begun, left, "wait for ^C", done, SUMMARY])
    stop = asyncio.Event()
    running = asyncio.create_task(world.up(world.request(), stop=stop))
    while not (world.home / "waiting").exists():
        assert not running.done()
        await asyncio.sleep(0.01)
    stop.set()
    report = await running
    assert report.cancelled
    assert not report.ok
    assert not report.errors
    assert [d.code for d in report.diagnostics] == ["cancelled"]
    notes = {step.urn: step.note for step in report.steps}
    assert notes == {POOL: "", OLD: "not finished"}
    assert [entry["signals"] for entry in world.asked() if "signals" in entry] == [1]
    assert [entry["group"] for entry in world.asked() if "up" in entry.get("argv", ())] == [True]


async def test_a_preview_that_is_cancelled_ends_the_cli_in_order(world: Any) -> None:
    world.knows()
    world.set(preview=["wait for ^C"])
    running = asyncio.create_task(world.preview(world.request()))
    while not (world.home / "waiting").exists():
        assert not running.done()
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with asyncio.timeout(30):
        while not (signals := [entry["signals"] for entry in world.asked() if "signals" in entry]):  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.01)
    assert signals == [1]


async def test_nothing_is_done_without_consent(world: Any, events: Any) -> None:
    world.knows()
    world.set(preview=events, up=events, preview_destroy=events, destroy=events)
    plans: list[dict[str, int]] = []

    def refuse(plan: Any) -> bool:
        plans.append(plan.summary)
        return False

    report = await world.up(world.request(), confirm=refuse)
    assert not report.ok
    assert report.diagnostics[-1].message == "not confirmed; nothing was changed"
    assert not (await world.down(world.request(), confirm=refuse)).ok
    assert plans == [{"delete": 1, "replace": 1, "update": 1}] * 2
    assert [entry["operation"] for entry in world.operations()] == ["preview", "preview_destroy"]


async def test_down_destroys_and_says_what_stays(
    world: Any, step: Callable[..., Any], describe: Callable[..., Any]
) -> None:
    world.knows()
    world.set(destroy=[*step("delete", POOL, describe(POOL)), SUMMARY])
    report = await world.down(world.request())
    assert report.ok
    assert report.summary == {"delete": 1}
    assert "pulumi stack rm dev" in report.diagnostics[-1].message
    with pytest.raises(automation.PulumiError, match="has no outputs"):
        await automation.outputs(world.request())


async def test_without_the_cli_it_says_how_to_get_it_and_what_works_without(
    world: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(automation.NoPulumi, match=r"no `pulumi` executable on PATH.*berth preview"):
        await world.preview(world.request())


async def test_a_cli_that_is_too_old_is_refused(world: Any) -> None:
    world.set(version="v2.9.0")
    with pytest.raises(automation.NoPulumi, match=r"2\.9\.0"):
        await world.preview(world.request())


async def test_another_projects_file_is_refused(world: Any) -> None:
    (world.project / "Pulumi.yaml").write_text("name: other\nruntime: python\nmain: app\n")
    with pytest.raises(ConfigError, match="its name is 'other', but 'demo' is to run"):
        await world.preview(world.request())

"""A secret's canary appears nowhere: not in text, JSON, events, errors, command lines or environments."""

from __future__ import annotations

import base64
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from berth.deployer import Report, Secret, outputs, render, up

if TYPE_CHECKING:
    from .conftest import Stack

pytestmark = pytest.mark.cluster
OLD, NEW = "canary-0ld-9f8e7d6c5b4a", "canary-n3w-1a2b3c4d5e6f"
PROGRAM = """
key = config.require_secret("key")
k8s.core.v1.Secret("holds", metadata={"name": "holds", "namespace": name}, string_data={"k": key}, opts=on)
configmap("uses", {"plain": "x", "config": key.apply(lambda k: "user:" + k)})
print("printing", config.require("key"))
pulumi.log.warn("warning with " + config.require("key"))
pulumi.export("key", key)
pulumi.export("nested", {"a": [key]})
"""


def everything(stack: Stack, *reports: Report) -> str:
    texts = [render(r, diff=True, same=True) + json.dumps(r.to_json()) + repr(r) for r in reports]
    return "\n".join([*texts, *stack.events])


def assert_hidden(text: str, *canaries: str) -> None:
    for canary in canaries:
        assert canary not in text
        for form in (canary, f"user:{canary}"):
            assert base64.b64encode(form.encode()).decode() not in text
        assert canary[:14] not in text


async def test_secrets_show_nowhere_while_they_are_created_changed_and_used(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    stack.secret = frozenset({"demo:key"})
    reports = []
    for canary in (OLD, NEW):
        stack.extra = {"demo:key": canary}
        stack.write(PROGRAM)
        reports += [await stack.preview(), await stack.up()]
    assert all(report.ok for report in reports), render(reports[-1])
    changed = {step.name: [change.path for change in step.changes] for step in reports[-1].changes}
    assert changed == {"holds": ["data.k"], "uses": ["data.config"]}
    assert "data.config: [secret] => [secret]" in render(reports[-1], diff=True)
    assert reports[-1].outputs["key"] == Secret(NEW)
    assert_hidden(everything(stack, *reports), OLD, NEW)
    assert_hidden(caplog.text, OLD, NEW)
    found = await outputs(stack.request(), interpreter=stack.interpreter)
    assert found["key"] == Secret(NEW)
    assert_hidden(repr(found), NEW)
    assert base64.b64decode(stack.get("secret/holds", ".data.k")).decode() == NEW
    # What was secret stays hidden, also when the program no longer says so.
    plain = await stack.up("configmap('uses', {'plain': 'x', 'config': 'public now'})")
    assert_hidden(everything(stack, plain), NEW)


async def test_errors_of_the_api_server_do_not_tell(stack: Stack) -> None:
    stack.secret = frozenset({"demo:key"})
    stack.extra = {"demo:key": f"{OLD} is no label!"}
    stack.write("""
        k8s.core.v1.ConfigMap("bad", metadata={"name": "bad", "namespace": name,
            "labels": {"l": config.require_secret("key")}}, opts=on)
    """)
    for report in (await stack.preview(), await stack.up()):
        assert not report.ok
        assert "metadata.labels" in report.errors[0].message
        assert "[secret]" in report.errors[0].message
        assert_hidden(everything(stack, report), OLD)


async def test_tracebacks_do_not_tell(stack: Stack) -> None:
    stack.secret = frozenset({"demo:key"})
    stack.extra = {"demo:key": OLD}
    report = await stack.up("""
        config.require_secret("key").apply(lambda key: {}[key])
    """)
    assert "KeyError: '[secret]'" in report.errors[0].message
    assert_hidden(everything(stack, report), OLD)


async def test_no_command_line_and_no_environment_carries_them(stack: Stack) -> None:
    stack.secret = frozenset({"demo:key"})
    stack.extra = {"demo:key": OLD}
    stack.write(PROGRAM)
    seen: list[str] = []

    def look(_: object) -> None:
        for process in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                try:
                    seen.append((process / name).read_bytes().decode(errors="replace"))
                except OSError:
                    continue  # it ended, or is another's

    report = await up(stack.request(), on_event=look, interpreter=stack.interpreter)
    assert report.ok
    assert len(seen) > 10
    assert_hidden("\n".join(seen), OLD)


async def test_the_contents_of_a_kubeconfig_are_a_secret(stack: Stack) -> None:
    stack.extra = {"demo:contents": stack.kubeconfig.read_text()}
    stack.write("""
        other = k8s.Provider("other", kubeconfig=config.require("contents"))
        k8s.core.v1.ConfigMap("one", metadata={"name": "one", "namespace": name},
            opts=pulumi.ResourceOptions(provider=other))
    """)
    report = await stack.up()
    assert report.ok, render(report)
    text = everything(stack, report)
    for line in stack.kubeconfig.read_text().splitlines():
        if len(line) > 60:
            assert line.split()[-1] not in text
    assert json.loads(json.dumps(report.to_json()))["clusters"] == [stack_label(report)]


def stack_label(report: Report) -> str:
    (label,) = {step.cluster for step in report.steps if step.cluster}
    return label

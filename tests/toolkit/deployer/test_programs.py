"""Real SDK programs in processes of their own, previewed without any cluster: what they see, how they end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from berth.deployer import (
    UNKNOWN,
    ConfigError,
    Interpreter,
    ProgramError,
    Report,
    RunRequest,
    Secret,
    preview,
    render,
    up,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Offline = Callable[..., Any]


def messages(report: Report) -> str:
    return "\n".join(message.message for message in report.diagnostics)


async def test_components_parents_and_dependencies(offline: Offline) -> None:
    report = await offline("""
        class Group(pulumi.ComponentResource):
            def __init__(self, name, opts=None):
                super().__init__("demo:index:Group", name, None, opts)
                self.map = k8s.core.v1.ConfigMap(f"{name}-map", data={"a": "b"},
                    opts=pulumi.ResourceOptions(parent=self))
                self.register_outputs({"map": self.map})
        group = Group("outer")
        k8s.core.v1.Secret("after", string_data={"a": group.map.data["a"]},
            opts=pulumi.ResourceOptions(depends_on=[group]))
        pulumi.export("name", group.map.metadata.name)
    """)
    assert report.ok, render(report)
    urns = [step.urn for step in report.steps]
    assert "urn:pulumi:dev::demo::demo:index:Group$kubernetes:core/v1:ConfigMap::outer-map" in urns
    assert [step.name for step in report.steps] == ["demo-dev", "outer", "outer-map", "after"]
    assert report.summary == {"create": 2}
    assert report.outputs["name"].startswith("outer-map-")
    text = render(report)
    assert "├─ demo:index:Group outer" in text
    assert "│  └─ ConfigMap outer-map  create" in text
    assert max(map(len, text.splitlines())) <= 80


async def test_nested_computed_values_are_unknown_and_join(offline: Offline) -> None:
    report = await offline("""
        service = k8s.core.v1.Service("s", spec={"type": "NodePort", "ports": [{"port": 80}]})
        claim = k8s.core.v1.PersistentVolumeClaim("c", spec={"access_modes": ["ReadWriteOnce"]})
        pulumi.export("ip", pulumi.Output.concat("http://", service.spec.cluster_ip))
        pulumi.export("address", service.status.load_balancer.ingress[0].ip)
        pulumi.export("port", service.spec.ports[0].port)
        pulumi.export("node port", service.spec.ports[0].node_port)
        pulumi.export("volume", claim.spec.volume_name)
        pulumi.export("uid", claim.metadata.uid)
        pulumi.export("name", claim.metadata.name.apply(lambda name: name.upper()))
    """)
    assert report.ok, render(report)
    known = {key: value for key, value in report.outputs.items() if value is not UNKNOWN}
    assert set(known) == {"port", "name"}
    assert known["port"] == 80


async def test_configuration_and_its_secrets(offline: Offline) -> None:
    report = await offline(
        """
        import os, threading
        seen = []
        thread = threading.Thread(target=lambda: seen.append(pulumi.Config("demo").get("plain")))
        thread.start(); thread.join()
        pulumi.export("plain", config.require("plain"))
        pulumi.export("thread", seen[0])
        pulumi.export("object", config.require_object("object")["list"][1])
        pulumi.export("secret", config.require_secret("secret"))
        pulumi.export("leak", "x" + config.require("secret") + "x")
        pulumi.export("joined", config.require_secret("secret").apply(lambda s: s[:6]))
        pulumi.export("environment", [key for key in os.environ if "canary" in os.environ[key]])
        pulumi.export("where", [os.path.basename(os.getcwd()), pulumi.get_stack(), pulumi.get_project()])
        print("printed", config.require("secret"))
        pulumi.log.info("logged " + config.require("secret"))
        """,
        config={"plain": "p", "object": '{"list":[1,"two"]}', "secret": "canary-0123456789"},
        secret=["secret"],
    )
    assert report.ok
    assert report.outputs["plain"] == report.outputs["thread"] == "p"
    assert report.outputs["object"] == "two"
    assert report.outputs["secret"] == Secret("canary-0123456789")
    assert isinstance(report.outputs["leak"], Secret), "an output that contains a secret is one"
    assert report.outputs["environment"] == []
    assert report.outputs["where"] == ["program", "dev", "demo"]
    everything = json.dumps(report.to_json()) + render(report, diff=True, same=True) + repr(report)
    assert "canary-0123456789" not in everything
    assert "printed [secret]" in report.program_output
    assert "logged [secret]" in messages(report)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('that went wrong')", "ValueError: that went wrong"),
        ("raise pulumi.RunError('set the key')", "set the key"),
        ("import sys; sys.exit(3)", "ended with exit code 3"),
        ("import sys; sys.exit('because')", "because"),
        ("import os; os._exit(0)", "ended before it had finished"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed by signal 9"),
        ("config.require('missing')", "Missing required configuration variable 'demo:missing'"),
        ("def broken(:", "SyntaxError"),
        ("pulumi.Output.from_input(1).apply(lambda x: x / 0)", "ZeroDivisionError"),
        ("import nowhere", "No module named 'nowhere'"),
    ],
)
async def test_every_way_to_end_badly_is_one_clear_error(offline: Offline, body: str, said: str) -> None:
    report = await offline(body)
    assert not report.ok
    assert len(report.errors) == 1, render(report)
    text = report.errors[0].message
    assert said in text
    assert "site-packages" not in text, "the SDK's frames are no news to the program's author"


async def test_traceback_shows_the_users_lines(offline: Offline) -> None:
    report = await offline("""
        def inner():
            raise KeyError("deep")
        def outer():
            try:
                inner()
            except KeyError as error:
                raise RuntimeError("outside") from error
        outer()
    """)
    text = report.errors[0].message
    assert text.index("KeyError: 'deep'") < text.index("RuntimeError: outside")
    assert "line " in text
    assert "__main__.py" in text
    assert "launcher.py" not in text
    assert "runpy" not in text


async def test_an_early_wanted_end_is_a_success(offline: Offline) -> None:
    report = await offline("""
        k8s.core.v1.ConfigMap("one")
        import sys
        sys.exit(0)
    """)
    assert report.ok, render(report)
    assert report.summary == {"create": 1}


@pytest.mark.parametrize(
    "body",
    [
        "import time\ntime.sleep(3600)",
        "import asyncio\npulumi.export('never', pulumi.Output.from_input(asyncio.Future()))",
        "while True: pass",
    ],
)
async def test_a_program_that_hangs_is_stopped_and_says_where(offline: Offline, body: str) -> None:
    report = await offline(body, idle_seconds=1.0)
    assert not report.ok
    assert "did nothing for 1 s and was stopped; it stood at" in report.errors[0].message


async def test_a_thread_that_never_ends_does_not_hold_up_a_finished_program(offline: Offline) -> None:
    report = await offline(
        """
        import threading
        threading.Thread(target=threading.Event().wait).start()
        pulumi.export("a", 1)
        """,
        idle_seconds=1.0,
    )
    assert report.ok, render(report)
    assert report.outputs["a"] == 1
    assert "had finished but did not exit" in messages(report)


REFUSED = {
    "helm": 'from pulumi_kubernetes.helm.v3 import Release\nRelease("x", chart="nginx")',
    "patch": 'k8s.core.v1.ConfigMapPatch("x", metadata={"name": "x"})',
    "generateName": 'k8s.core.v1.ConfigMap("x", metadata={"generate_name": "x-"})',
    "transforms": ('k8s.core.v1.ConfigMap("x", opts=pulumi.ResourceOptions(transforms=[lambda args: None]))'),
    "stack transforms": "pulumi.runtime.register_resource_transform(lambda args: None)",
    "hooks": (
        'k8s.core.v1.ConfigMap("x", opts=pulumi.ResourceOptions(hooks=pulumi.ResourceHookBinding('
        "before_create=[lambda args: None])))"
    ),
    "deleted_with": (
        'a = k8s.core.v1.ConfigMap("a")\n'
        'k8s.core.v1.ConfigMap("x", opts=pulumi.ResourceOptions(deleted_with=a))'
    ),
    "replacement_trigger": ('k8s.core.v1.ConfigMap("x", opts=pulumi.ResourceOptions(replacement_trigger=1))'),
    "remote": (
        "class Far(pulumi.ComponentResource):\n"
        '    def __init__(self):\n        super().__init__("far:index:Far", "far", {}, None, True)\nFar()'
    ),
    "annotation": (
        'k8s.core.v1.ConfigMap("x", metadata={"annotations": {"pulumi.com/replaceUnready": "true"}})'
    ),
    "waitFor": 'k8s.core.v1.ConfigMap("x", metadata={"annotations": {"pulumi.com/waitFor": "soon"}})',
    "timeout": (
        'k8s.core.v1.ConfigMap("x", opts=pulumi.ResourceOptions('
        'custom_timeouts=pulumi.CustomTimeouts(create="soon")))'
    ),
    "provider setting": 'k8s.Provider("x", render_yaml_to_directory="out")',
    "invoke": 'pulumi.runtime.invoke("kubernetes:yaml:decode", {"text": ""})',
    "asset": 'k8s.core.v1.ConfigMap("x", data={"a": pulumi.StringAsset("x")})',
}


@pytest.mark.parametrize("what", REFUSED)
async def test_what_is_not_supported_is_refused_by_name(offline: Offline, what: str) -> None:
    report = await offline(REFUSED[what])
    assert not report.ok
    assert [error.code for error in report.errors] == ["refused"], render(report)
    assert "Traceback" not in report.errors[0].message


async def test_other_providers_are_planned_without_a_plugin(offline: Offline) -> None:
    report = await offline("""
        class Bucket(pulumi.CustomResource):
            arn: pulumi.Output[str]
            size: pulumi.Output[int]
            def __init__(self, name, size):
                super().__init__("aws:s3/bucket:Bucket", name, {"size": size, "arn": None})
        bucket = Bucket("b", 3)
        k8s.core.v1.ConfigMap("uses", data={"arn": bucket.arn})
        pulumi.export("arn", bucket.arn)
        pulumi.export("size", bucket.size)
        pulumi.export("asked", pulumi.runtime.invoke_output("aws:index/getRegion:getRegion", {}))
    """)
    assert report.ok, render(report)
    assert report.outputs["arn"] is report.outputs["asked"] is UNKNOWN
    assert report.outputs["size"] == 3
    notes = {step.name: step.note for step in report.steps}
    assert notes["b"] == "planned without the provider"
    assert notes["uses"] == "planned without the cluster"
    (uses,) = [step for step in report.steps if step.name == "uses"]
    assert uses.inputs["data"] == {"arn": "[unknown]"}


async def test_other_providers_are_not_applied(
    write: Callable[[str], Path], interpreter: Interpreter
) -> None:
    program = write("""
        class Bucket(pulumi.CustomResource):
            def __init__(self, name):
                super().__init__("aws:s3/bucket:Bucket", name, {})
        Bucket("b")
    """)
    report = await up(RunRequest(program, "demo", "dev"), interpreter=interpreter)
    assert [error.code for error in report.errors] == ["refused"], render(report)
    assert "because of aws:s3/bucket:Bucket 'b'" in report.errors[0].message
    assert "--engine pulumi" in report.errors[0].message


async def test_the_same_program_gives_the_same_report(offline: Offline) -> None:
    body = """
        for i in range(30):
            k8s.core.v1.ConfigMap(f"c{i}", data={"i": str(i)})
    """
    first, second = await offline(body), await offline(body)
    assert [step.urn for step in first.steps] == [step.urn for step in second.steps]
    assert first.to_json() == second.to_json()


async def test_json_has_the_shape_of_pulumis_preview(offline: Offline) -> None:
    report = await offline('k8s.core.v1.Secret("s", string_data={"k": "canary-value"})')
    found = report.to_json()
    json.dumps(found)
    step = found["steps"][1]
    assert step["op"] == "create"
    assert step["urn"].endswith("Secret::s")
    assert {"diffReasons", "replaceReasons", "detailedDiff", "newState"} <= set(step)
    assert step["newState"]["inputs"]["data"] == "[secret]"
    assert found["changeSummary"] == {"create": 1}
    assert "duration" not in found, "the same plan gives the same bytes"
    assert "canary-value" not in json.dumps(found)


def test_a_killed_deployer_takes_its_program_along(write: Callable[[str], Path], tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    program = write(f"""
        import os, pathlib, time
        pathlib.Path({str(mark)!r}).write_text(str(os.getpid()))
        time.sleep(3600)
    """)
    arguments = ["preview", "--program", str(program), "--project", "demo", "--stack", "dev", "--offline"]
    process = subprocess.Popen(
        [sys.executable, "-m", "berth.deployer", *arguments], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not (mark.exists() and mark.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    pid = int(mark.read_text())
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


async def test_an_interpreter_without_the_sdk_is_named(tmp_path: Path, write: Callable[[str], Path]) -> None:
    bare = without_packages(tmp_path)
    report = await preview(RunRequest(write(""), "demo", "dev", python=bare, offline=True))
    assert not report.ok
    assert "no Pulumi SDK" in report.errors[0].message
    missing = tmp_path / "nowhere"
    with pytest.raises(ProgramError, match="cannot start"):
        await preview(RunRequest(write(""), "demo", "dev", python=missing, offline=True))


def without_packages(folder: Path) -> Path:
    """Give a Python that finds no installed package."""
    script = folder / "bare"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    script.chmod(0o755)
    return script


def test_a_request_that_is_wrong_in_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        RunRequest(tmp_path / "nothing", "demo", "dev")
    with pytest.raises(ConfigError, match="allowed are"):
        RunRequest(tmp_path, "demo", "a/b")


def test_nothing_secret_shows_in_a_request() -> None:
    request = RunRequest(Path(os.curdir), "demo", "dev", {"demo:key": "canary-123"}, frozenset({"demo:key"}))
    assert "canary-123" not in repr(request)


async def test_a_component_that_holds_other_resources(offline: Offline) -> None:
    """The SDK then asks for them by their URNs, a component's with the outputs that it registered."""
    report = await offline("""
        class Group(pulumi.ComponentResource):
            child: pulumi.Output
            inner: pulumi.Output
            def __init__(self, name, child, inner=None, opts=None):
                super().__init__("demo:index:Group", name, {"child": child, "inner": inner}, opts)
                self.register_outputs({"mark": name})
        one = k8s.core.v1.ConfigMap("one", metadata={"name": "one", "namespace": "n"}, data={"a": "b"})
        there = k8s.core.v1.ConfigMap.get("there", "n/there")
        outer = Group("outer", one, Group("inner", there))
        pulumi.export("data", outer.child.apply(lambda child: child.data["a"]))
        pulumi.export("id", outer.child.apply(lambda child: child.id))
    """)
    assert report.ok, render(report)
    assert report.outputs == {"data": "b", "id": "n/one"}
    assert report.summary == {"create": 1, "read": 1}

"""A stack's life on a real API server: create, repeat, change, replace, shrink, remove."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from berth.deployer import Report, RunRequest, Secret, outputs, render

if TYPE_CHECKING:
    from .conftest import Stack

pytestmark = pytest.mark.cluster


def ops(report: Report) -> dict[str, str]:
    return {step.name: step.op.value for step in report.changes}


def fine(report: Report) -> Report:
    assert report.ok, render(report)
    return report


MIXED = """
    settings = configmap("settings", {"a": config.get("a") or "1"})
    k8s.core.v1.Secret("key", metadata={"namespace": name}, string_data={"k": "v"}, opts=on)
    service = k8s.core.v1.Service("api", metadata={"name": "api", "namespace": name}, spec={
        "ports": [{"port": 80}]}, opts=on)
    k8s.apps.v1.Deployment("api", metadata={"name": "api", "namespace": name}, spec={
        "replicas": 0, "selector": {"match_labels": {"app": config.get("label") or "api"}},
        "template": {"metadata": {"labels": {"app": config.get("label") or "api"}},
                     "spec": {"containers": [{"name": "c", "image": "berth.local/none:1"}]}}}, opts=on)
    pulumi.export("url", pulumi.Output.concat("http://", service.spec.cluster_ip))
    pulumi.export("a", settings.data["a"])
"""


async def test_preview_up_repeat_change_down(stack: Stack) -> None:
    kept = {"state_namespace": f"{stack.name}-records"}
    stack.write(MIXED, own_namespace=True)
    planned = fine(await stack.preview(**kept))
    assert f"{stack.name}-own" not in stack.cluster.kubectl("get", "namespaces", "-o", "name")
    first = fine(await stack.up(**kept))
    assert ops(planned) == ops(first)
    assert set(ops(first).values()) == {"create"}
    assert len(first.changes) == 5
    assert first.outputs["url"].startswith("http://")
    assert first.outputs["url"] != "http://"

    again = fine(await stack.up(**kept))
    assert again.changes == []
    assert again.output_changes == {}
    assert again.summary == {"same": 5}

    stack.extra = {"demo:a": "2"}
    planned = fine(await stack.preview(**kept))
    assert ops(planned) == {"settings": "update"}
    assert [change.path for change in planned.changes[0].changes] == ["data.a"]
    changed = fine(await stack.up(**kept))
    assert ops(changed) == {"settings": "update"}
    settings = stack.cluster.kubectl("get", "configmap", "settings", "-n", f"{stack.name}-own", "-o", "yaml")
    assert 'a: "2"' in settings
    assert changed.output_changes == {"a": "update"}

    found = await outputs(stack.request(**kept))
    assert found["a"] == "2"

    gone = fine(await stack.down(**kept))
    assert len(gone.changes) == 5
    namespaces = stack.cluster.kubectl("get", "namespaces", "-o", "name")
    assert f"{stack.name}-own" not in namespaces
    assert f"{stack.name}-records" not in namespaces
    left = stack.cluster.kubectl("get", "secrets,leases", "-A", "-o", "name")
    assert f"demo.{stack.name}" not in left
    nothing = fine(await stack.down(**kept))
    assert nothing.changes == []


async def test_immutable_field_is_a_replacement_with_its_reason(stack: Stack) -> None:
    fine(await stack.up(MIXED))
    uid = stack.get("deployment/api", ".metadata.uid")
    stack.extra = {"demo:label": "other"}
    planned = fine(await stack.preview())
    done = fine(await stack.up())
    assert ops(planned) == ops(done) == {"api": "replace"}
    assert planned.changes[0].replace_reasons == done.changes[0].replace_reasons == ("spec.selector",)
    assert "replace because of spec.selector" in render(done)
    assert stack.get("deployment/api", ".metadata.uid") != uid
    assert fine(await stack.up()).changes == []


async def test_removed_outside_is_made_again(stack: Stack) -> None:
    fine(await stack.up('configmap("one", {"a": "1"})\nconfigmap("two", {"a": "1"})'))
    stack.cluster.kubectl("delete", "configmap", "two", "-n", stack.name)
    stack.cluster.kubectl("patch", "configmap", "one", "-n", stack.name, "-p", '{"data":{"b":"x"}}')
    planned = fine(await stack.preview())
    done = fine(await stack.up())
    assert ops(planned) == ops(done) == {"two": "create"}, "a field of somebody else's is not ours to remove"
    assert fine(await stack.up()).changes == []


async def test_what_is_no_longer_declared_goes_in_reverse_order(stack: Stack) -> None:
    fine(
        await stack.up("""
            a = configmap("a", {"x": "1"})
            b = k8s.core.v1.ConfigMap("b", metadata={"name": "b", "namespace": name}, data={"x": "1"},
                opts=pulumi.ResourceOptions.merge(on, pulumi.ResourceOptions(depends_on=[a])))
            k8s.core.v1.ConfigMap("c", metadata={"name": "c", "namespace": name}, data={"x": b.metadata.name},
                opts=on)
            configmap("d", {"x": "1"})
        """)
    )
    stack.events.clear()
    done = fine(await stack.up('configmap("d", {"x": "1"})'))
    assert ops(done) == {"a": "delete", "b": "delete", "c": "delete"}
    deleted = [event for event in stack.events if event.startswith("finished: deleted")]
    assert [line.split("/")[1][0] for line in deleted] == ["c", "b", "a"]
    assert stack.objects() == {"configmap/d"}


async def test_new_name_is_a_replacement_and_leaves_no_old_object(stack: Stack) -> None:
    program = """
        k8s.core.v1.ConfigMap("settings", metadata={"name": config.get("n") or "old", "namespace": name},
            data={"a": "1"}, opts=on)
    """
    fine(await stack.up(program))
    stack.extra = {"demo:n": "new"}
    planned = fine(await stack.preview())
    done = fine(await stack.up())
    assert ops(planned) == ops(done) == {"settings": "replace"}
    assert done.changes[0].replace_reasons == ("metadata.name",)
    assert stack.objects() == {"configmap/new"}


async def test_swapped_names_delete_nothing(stack: Stack) -> None:
    program = """
        for key, called in (("x", "{0}"), ("y", "{1}")):
            k8s.core.v1.ConfigMap(key, metadata={{"name": called, "namespace": name}}, data={{"from": key}},
                opts=on)
    """
    fine(await stack.up(program.format("one", "two")))
    uid = stack.get("configmap/one", ".metadata.uid")
    done = fine(await stack.up(program.format("two", "one")))
    assert ops(done) == {"x": "update", "y": "update"}
    assert stack.get("configmap/one", ".data.from") == "y"
    assert stack.get("configmap/one", ".metadata.uid") == uid
    assert fine(await stack.up()).changes == []


async def test_generated_name_stays_the_same_through_an_alias(stack: Stack) -> None:
    fine(await stack.up('k8s.core.v1.ConfigMap("old", metadata={"namespace": name}, opts=on)'))
    (before,) = stack.objects()
    assert before.startswith("configmap/old-")
    renamed = """
        class Group(pulumi.ComponentResource):
            def __init__(self):
                own = pulumi.ResourceOptions(providers=[provider])
                super().__init__("demo:index:Group", "group", None, own)
                k8s.core.v1.ConfigMap("new", metadata={"namespace": name}, opts=pulumi.ResourceOptions(
                    parent=self,
                    aliases=[pulumi.Alias(name="old", parent=pulumi.ROOT_STACK_RESOURCE)],
                ))
                self.register_outputs({})
        Group()
    """
    planned = await stack.up(renamed)
    assert fine(planned).changes == [], render(planned)
    assert stack.objects() == {before}
    note = stack.get(before, r".metadata.annotations.berth\.dev/urn")
    assert note.endswith("demo:index:Group$kubernetes:core/v1:ConfigMap::new")
    assert fine(await stack.up(renamed.replace("aliases=", "# "))).changes == []
    assert stack.objects() == {before}


async def test_renaming_without_an_alias_keeps_the_object(stack: Stack) -> None:
    fine(await stack.up('configmap("same", {"a": "1"})'))
    uid = stack.get("configmap/same", ".metadata.uid")
    other = """
        metadata = {"name": "same", "namespace": name}
        k8s.core.v1.ConfigMap("another", metadata=metadata, data={"a": "1"}, opts=on)
    """
    assert fine(await stack.up(other)).changes == []
    assert stack.get("configmap/same", ".metadata.uid") == uid


async def test_protect_refuses_before_anything_changes(stack: Stack) -> None:
    fine(await stack.up('configmap("keep", {"a": "1"}, protect=True)\nconfigmap("other", {"a": "1"})'))
    refused = await stack.up('configmap("other", {"a": "2"})')
    assert not refused.ok
    assert "is protected and would be deleted" in refused.errors[0].message
    assert refused.changes == []
    assert stack.get("configmap/other", ".data.a") == "1", "nothing may change before the refusal"
    assert not (await stack.preview()).ok
    down = await stack.down()
    assert not down.ok
    assert stack.objects() == {"configmap/keep", "configmap/other"}
    fine(await stack.up('configmap("keep", {"a": "1"})\nconfigmap("other", {"a": "1"})'))
    fine(await stack.up('configmap("other", {"a": "1"})'))
    assert stack.objects() == {"configmap/other"}


async def test_retain_on_delete_lets_go(stack: Stack) -> None:
    fine(await stack.up('configmap("keep", {"a": "1"}, retain_on_delete=True)'))
    done = fine(await stack.up("pass"))
    assert ops(done) == {"keep": "retain"}
    assert stack.objects() == {"configmap/keep"}
    assert "berth.dev" not in stack.get("configmap/keep", ".metadata.annotations")
    assert "applyset" not in stack.get("configmap/keep", ".metadata.labels")
    assert fine(await stack.up()).changes == []


async def test_ignored_changes_stay_as_they_are(stack: Stack) -> None:
    program = MIXED.replace(
        '"berth.local/none:1"}]}}}, opts=on)',
        '"berth.local/none:1"}]}}}, opts=pulumi.ResourceOptions.merge(on,'
        'pulumi.ResourceOptions(ignore_changes=["spec.replicas"])))',
    )
    fine(await stack.up(program))
    patch = '{"spec":{"replicas":1,"paused":true}}'
    stack.cluster.kubectl("patch", "deployment", "api", "-n", stack.name, "-p", patch)
    assert fine(await stack.up()).changes == []
    assert stack.get("deployment/api", ".spec.replicas") == "1"


async def test_field_of_another_manager_is_named_with_its_owner(stack: Stack) -> None:
    fine(await stack.up('configmap("one", {"a": "1"})'))
    stack.cluster.kubectl(
        "patch", "configmap", "one", "-n", stack.name, "--field-manager=somebody", "-p", '{"data":{"a":"9"}}'
    )
    refused = await stack.up('configmap("one", {"a": "1"})')
    assert not refused.ok
    (error,) = refused.errors
    assert "data.a by 'somebody'" in error.message
    assert 'ignore_changes=["data.a"]' in error.message
    assert stack.get("configmap/one", ".data.a") == "9"
    taken = """
        k8s.core.v1.ConfigMap("one", metadata={"name": "one", "namespace": name,
            "annotations": {"pulumi.com/patchForce": "true"}}, data={"a": "1"}, opts=on)
    """
    assert ops(fine(await stack.up(taken))) == {"one": "update"}
    assert stack.get("configmap/one", ".data.a") == "1"


async def test_foreign_object_is_refused_and_can_be_taken_over(stack: Stack) -> None:
    fine(await stack.up("pass"))
    stack.cluster.kubectl("create", "configmap", "theirs", "-n", stack.name)
    program = 'configmap("theirs", {{"a": "1"}}{})'
    for run in (stack.preview, stack.up):
        stack.write(program.format(""))
        refused = await run()
        assert not refused.ok
        assert f'import_="{stack.name}/theirs"' in refused.errors[0].message
    taken = fine(await stack.up(program.format(', import_=name + "/theirs"')))
    assert ops(taken) == {"theirs": "update"}
    assert fine(await stack.up(program.format(""))).changes == []


async def test_a_preview_predicts_every_step_of_the_up(stack: Stack) -> None:
    stack.folder.mkdir()
    shutil.copy(Path(__file__).with_name("kill_program.py"), stack.folder / "__main__.py")
    seen: set[str] = set()
    for generation in range(3):
        stack.extra = {"demo:generation": str(generation)}
        planned = fine(await stack.preview())
        done = fine(await stack.up())
        assert [(s.urn, s.op, s.replace_reasons) for s in planned.changes] == [
            (s.urn, s.op, s.replace_reasons) for s in done.changes
        ]
        assert planned.outputs == done.outputs
        seen |= set(ops(done).values())
    assert seen == {"create", "update", "replace", "delete"}


async def test_one_object_declared_twice_is_refused(stack: Stack) -> None:
    refused = await stack.up("""
        configmap("one", {"a": "1"})
        k8s.core.v1.ConfigMap("two", metadata={"name": "one", "namespace": name}, opts=on)
    """)
    assert not refused.ok
    assert "declared twice" in refused.errors[0].message
    assert stack.objects() == set()


async def test_namespace_and_kind_come_first_without_depends_on(stack: Stack) -> None:
    group = f"{stack.name}.example.com"
    program = f"""
        k8s.apiextensions.CustomResource("thing", api_version="{group}/v1", kind="Thing",
            metadata={{"name": "thing", "namespace": name}}, spec={{"size": 3}}, opts=on)
        k8s.apiextensions.v1.CustomResourceDefinition("things", metadata={{"name": "things.{group}"}}, spec={{
            "group": "{group}", "scope": "Namespaced", "names": {{"kind": "Thing", "plural": "things"}},
            "versions": [{{"name": "v1", "served": True, "storage": True, "schema": {{"open_apiv3_schema": {{
                "type": "object", "properties": {{"spec": {{"type": "object", "properties": {{
                    "size": {{"type": "integer"}}}}}}}}}}}}}}]}}, opts=on)
        k8s.core.v1.ConfigMap("early", metadata={{"name": "early", "namespace": name}}, opts=on)
    """
    stack.write(program, own_namespace=True)
    planned = fine(await stack.preview())
    done = fine(await stack.up())
    assert ops(planned) == ops(done)
    assert len(done.changes) == 4
    assert fine(await stack.up()).changes == []
    stack.events.clear()
    removed = fine(await stack.down())
    assert len(removed.changes) == 4


async def test_default_provider_and_reads_and_other_stacks(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine(
        await stack.up("""
            configmap("source", {"a": "read"})
            pulumi.export("plain", {"x": [1, 2]})
            pulumi.export("hidden", pulumi.Output.secret("canary-of-the-other-stack"))
        """)
    )
    monkeypatch.setenv("KUBECONFIG", str(stack.kubeconfig))
    program = stack.folder.parent / "second"
    program.mkdir()
    (program / "__main__.py").write_text(f"""
import pulumi
from pulumi_kubernetes.core.v1 import ConfigMap
other = pulumi.StackReference("organization/demo/{stack.name}")
source = ConfigMap.get("source", "{stack.name}/source")
ConfigMap("copy", metadata={{"name": "copy", "namespace": "{stack.name}"}},
    data={{"a": source.data["a"], "x": other.get_output("plain").apply(lambda p: str(int(p["x"][1])))}})
pulumi.export("hidden", other.get_output("hidden"))
""")
    from berth.deployer import down, preview, up  # noqa: PLC0415 - beside the second request

    request = RunRequest(program, "demo", f"{stack.name}-b")
    planned = fine(await preview(request, interpreter=stack.interpreter))
    done = fine(await up(request, interpreter=stack.interpreter))
    assert ops(planned) == ops(done) == {"copy": "create"}
    assert stack.get("configmap/copy", ".data.a") == "read"
    assert stack.get("configmap/copy", ".data.x") == "2"
    assert isinstance(done.outputs["hidden"], Secret)
    assert "canary-of-the-other-stack" not in str(done.to_json())
    fine(await down(request, interpreter=stack.interpreter))


async def test_unknown_fields_are_found_before_the_namespace_exists(stack: Stack) -> None:
    stack.write(
        """
        k8s.apiextensions.CustomResource("x", api_version="v1", kind="ConfigMap",
            metadata={"name": "x", "namespace": name}, opts=on, spec={"no": 1})
    """,
        own_namespace=True,
    )
    for run in (stack.preview, stack.up):
        report: Any = await run()
        assert not report.ok
        assert "spec" in report.errors[0].message
    assert f"{stack.name}-own" not in stack.cluster.kubectl("get", "namespaces", "-o", "name")

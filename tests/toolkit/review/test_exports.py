"""What `pulumi stack export` wrote, against a program: no credential, no secret, no change that is none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from berth.review import ExportError, read_export

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Copy

SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"
CANARIES = ("v1:canary:ciphertext", "canary-plaintext")


def secret(**how: str) -> dict[str, str]:
    return {SIGNATURE: SECRET, **how}


def export(*resources: dict[str, Any], version: int = 3) -> dict[str, Any]:
    root = {
        "urn": "urn:pulumi:dev::demo::pulumi:pulumi:Stack::demo-dev",
        "type": "pulumi:pulumi:Stack",
        "outputs": {"url": "http://a", "key": secret(ciphertext=CANARIES[0])},
    }
    return {"version": version, "deployment": {"manifest": {}, "resources": [root, *resources]}}


def resource(type_: str, name: str, inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    urn = f"urn:pulumi:dev::demo::{type_}::{name}"
    return {"urn": urn, "type": type_, "custom": True, "inputs": inputs, **more}


def read(tmp_path: Path, document: Any) -> Any:
    path = tmp_path / "dev.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return read_export(path, "demo", "dev")


def test_secrets_become_words_wherever_they_are(tmp_path: Path) -> None:
    inputs = {
        "password": secret(ciphertext=CANARIES[0]),
        "nested": [{"deep": secret(plaintext=json.dumps(CANARIES[1]))}],
        "asset": {SIGNATURE: "c44067f5952c0a294b673a41bacd8c17", "text": CANARIES[1]},
    }
    found = read(tmp_path, export(resource("aws:rds/instance:Instance", "db", inputs)))
    assert not any(canary in repr(found) for canary in CANARIES)
    assert found.resources[-1].inputs == {
        "password": "[secret]",
        "nested": [{"deep": "[secret]"}],
        "asset": "[asset]",
    }
    assert found.outputs == {"url": "http://a", "key": "[secret]"}


def test_what_the_provider_filled_in_is_no_input(tmp_path: Path) -> None:
    inputs = {
        "__defaults": ["name", "region"],
        "name": "db-1234567",
        "region": "eu-central-1",
        "size": 3.0,
        "rules": [{"__defaults": ["self"], "self": False, "port": 80}],
        "none": None,
    }
    found = read(tmp_path, export(resource("aws:rds/instance:Instance", "db", inputs)))
    assert found.resources[-1].inputs == {"size": 3, "rules": [{"port": 80}]}


def test_kubernetes_objects_are_as_plans_have_them(tmp_path: Path) -> None:
    type_ = "kubernetes:core/v1:Secret"
    metadata = {"name": "a-1x2y", "namespace": "n", "annotations": {"pulumi.com/autonamed": "true"}}
    inputs: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
    inputs["stringData"] = secret(plaintext='"x"')
    (found,) = (one for one in read(tmp_path, export(resource(type_, "a", inputs))).resources if one.custom)
    assert found.inputs["data"] == "[secret]"
    assert "stringData" not in found.inputs
    assert found.inputs["metadata"] == {"name": "a-1x2y", "namespace": "n"}
    assert found.ignore == ("metadata.name",)
    assert found.object == "Secret n/a-1x2y"


def test_what_is_being_deleted_or_is_only_read_does_not_count(tmp_path: Path) -> None:
    bucket = "aws:s3/bucket:Bucket"
    found = read(
        tmp_path,
        export(
            resource(bucket, "a", {}),
            resource(bucket, "b", {}, delete=True),
            resource(bucket, "c", {}, external=True),
            resource("pulumi:providers:aws", "default_7_0_0", {}),
        ),
    )
    assert [one.name for one in found.resources if one.custom] == ["a"]


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ([1], "no `deployment`"),
        ({"version": 3}, "no `deployment`"),
        ({"version": 9, "deployment": {}}, "version is 9"),
        ({"version": 3, "deployment": {"resources": [1]}}, "no list of resources"),
        (
            {"version": 3, "deployment": {"resources": [{"urn": "urn:pulumi:prod::demo::a::b"}]}},
            "another stack",
        ),
    ],
)
def test_what_is_no_export_is_said(tmp_path: Path, document: Any, told: str) -> None:
    with pytest.raises(ExportError, match=told):
        read(tmp_path, document)


def test_a_program_against_what_is_deployed(copy: Copy, tmp_path: Path) -> None:
    """The export that an `up` of the same program would leave has no change; another one exactly its own."""
    plan = json.loads(copy.berth("preview", "onprem", "--offline", "--json"))
    resources = [{**step["newState"], "inputs": step["newState"]["inputs"]} for step in plan["steps"]]
    for one in resources:
        if one["type"] == "kubernetes:core/v1:Secret":
            one["inputs"] = {**one["inputs"], "data": {"k": secret(ciphertext=CANARIES[0])}}
        if one["type"] == "kubernetes:apps/v1:Deployment" and "metrics" not in one["urn"]:
            one["inputs"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 1
    gone = resource(
        "kubernetes:core/v1:ConfigMap", "gone", {"kind": "ConfigMap", "metadata": {"name": "gone"}}
    )
    gone["urn"] = gone["urn"].replace("dev::demo", "onprem::berth")
    folder = tmp_path / "exports"
    folder.mkdir()
    document = {"version": 3, "deployment": {"resources": [*resources, gone]}}
    (folder / "onprem.json").write_text(json.dumps(document))
    report = tmp_path / "report"
    done = copy.run("preview", "onprem", "--against", str(folder), "--report", str(report))
    assert done.returncode in {0, 1}, done.stderr
    (stack,) = json.loads((report / "review.json").read_text())["stacks"]
    changed = [one for one in stack["entries"] if one["custom"] and one["op"] != "same"]
    assert {(one["op"], one["type"].rpartition(":")[2]) for one in changed} == {
        ("update", "Deployment"),
        ("delete", "ConfigMap"),
    }
    paths = {change["path"] for one in changed for change in one["changes"]}
    assert paths == {"spec.template.spec.terminationGracePeriodSeconds"}
    assert not any(canary in path.read_text() for path in report.iterdir() for canary in CANARIES)


def test_odd_exports_break_nothing(tmp_path: Path) -> None:
    type_ = "kubernetes:core/v1:ConfigMap"
    odd = [
        resource(type_, "a", {"kind": "ConfigMap", "metadata": secret(ciphertext=CANARIES[0])}),
        resource(type_, "b", {"metadata": {"annotations": secret(ciphertext=CANARIES[0])}}),
        resource(type_, "c", {"metadata": {"annotations": None}}),
        {**resource(type_, "d", {}), "inputs": [1]},
        {"urn": "urn:pulumi:dev::demo::x::y"},
    ]
    found = {one.name: one for one in read(tmp_path, export(*odd)).resources}
    assert found["a"].inputs["metadata"] == "[secret]"
    assert found["b"].inputs["metadata"] == {"annotations": "[secret]"}
    assert found["d"].inputs == {"metadata": {}}
    assert not found["y"].custom

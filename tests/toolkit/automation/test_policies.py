"""Policy packs under the Pulumi CLI: handed over, and their events read back (against the stand-in)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from berth.deployer import PolicyPack, render

if TYPE_CHECKING:
    from pathlib import Path

STACK = "urn:pulumi:dev::demo::pulumi:pulumi:Stack::demo-dev"
BUCKET = "urn:pulumi:dev::demo::aws:s3/bucket:Bucket::data"


def said(policy: str, level: str, message: str, urn: str = BUCKET) -> dict[str, Any]:
    """A policy event, as the engine sends it."""
    return {
        "policyEvent": {
            "message": f"<{{%fg 1%}}>{message}<{{%reset%}}>",
            "color": "raw",
            "policyName": policy,
            "policyPackName": "house-rules",
            "policyPackVersion": "1.4.0",
            "enforcementLevel": level,
            "resourceUrn": urn,
        }
    }


def summary(**packs: str) -> dict[str, Any]:
    """The end of an operation."""
    return {
        "summaryEvent": {
            "maybeCorrupt": False,
            "durationSeconds": 1,
            "resourceChanges": {},
            "PolicyPacks": {name.replace("_", "-"): version for name, version in packs.items()},
        }
    }


@pytest.fixture
def pack(tmp_path: Path) -> PolicyPack:
    """Name a pack and its configuration; the stand-in does not read them."""
    folder = tmp_path / "rules"
    folder.mkdir()
    config = tmp_path / "levels.json"
    config.write_text('{"all": "mandatory"}')
    return PolicyPack(folder, config)


async def test_packs_and_their_configurations_are_handed_over(world: Any, pack: PolicyPack) -> None:
    world.knows()
    world.set(preview=[summary(house_rules="v1.4.0")])
    report = await world.preview(world.request(policy_packs=(pack,)))
    assert report.ok, report.errors
    argv = next(entry["argv"] for entry in world.asked() if "preview" in entry.get("argv", []))
    assert argv[argv.index("--policy-pack") + 1] == str(pack.folder)
    assert argv[argv.index("--policy-pack-config") + 1] == str(pack.config)
    assert [(run.name, run.version, run.error) for run in report.policy_packs] == [
        ("house-rules", "1.4.0", "")
    ]
    assert "policies over 0 resources: passed" in render(report)


async def test_what_could_not_be_evaluated_is_no_pass(world: Any, pack: PolicyPack) -> None:
    text = (
        "can't run policy 'encrypted' from policy pack 'house-rules@v1.4.0' during preview: string value at "
        ".kmsKey can't be known during preview"
    )
    world.knows()
    world.set(preview=[said("encrypted", "advisory", text), summary(house_rules="v1.4.0")])
    report = await world.preview(world.request(policy_packs=(pack,)))
    (result,) = report.policy_results
    assert (result.status, result.urn, result.message) == ("unevaluated", BUCKET, text)
    assert "passed" not in render(report)


async def test_an_up_is_refused_before_anything_changes(world: Any, pack: PolicyPack) -> None:
    world.knows()
    violated = [
        said("private", "mandatory", "No bucket is public.\nthis one is"),
        said("owners", "mandatory", "Stacks have owners.", STACK),
    ]
    world.set(preview=[*violated, summary(house_rules="v1.4.0")], mistakes=["update"])
    report = await world.up(world.request(policy_packs=(pack,)))
    assert not report.ok
    assert [entry["operation"] for entry in world.operations()] == ["preview"]
    assert [(r.policy, r.level, r.urn) for r in report.policy_results] == [
        ("owners", "mandatory", ""),
        ("private", "mandatory", BUCKET),
    ]
    assert [d.message for d in report.errors] == ["mandatory policies are violated: owners, private"]
    assert report.diagnostics[-1].message == "nothing was changed"
    assert report.changes == []


async def test_an_up_that_passes_goes_on(world: Any, pack: PolicyPack) -> None:
    world.knows()
    world.set(preview=[summary(house_rules="v1.4.0")], up=[summary(house_rules="v1.4.0")])
    report = await world.up(world.request(policy_packs=(pack,)))
    assert report.ok, report.errors
    assert [entry["operation"] for entry in world.operations()] == ["preview", "up"]


async def test_a_pack_of_which_the_cli_says_nothing_did_not_pass(world: Any, pack: PolicyPack) -> None:
    world.knows()
    world.set(preview=[], mistakes=["update"])
    report = await world.preview(world.request(policy_packs=(pack,)))
    assert not report.ok
    (run,) = report.policy_packs
    assert run.name == "rules"
    assert "update failed" in run.error
    assert "passed" not in render(report)

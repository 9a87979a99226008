"""Policies beside an `up` on a real cluster: refused before it, remediations applied, judged again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from berth.deployer import Op, render

if TYPE_CHECKING:
    from .conftest import Stack

pytestmark = pytest.mark.cluster
Pack = Any
RULES = """
def has_team(args, report):
    if args.resource_type.endswith("ConfigMap") and "team" not in args.props["data"]:
        report("no team")
def not_its_uid(args, report):
    if args.name == "late" and args.props["data"]["uid"]:
        report("the uid is known: " + str(len(args.props["data"]["uid"])))
def add_team(args):
    if args.name == "named":
        return {**args.props, "data": {**args.props["data"], "team": "ml"}}
def few(args, report):
    maps = [r for r in args.resources if r.resource_type.endswith("ConfigMap")]
    if len(maps) > 2:
        report("too many: " + ", ".join(sorted(r.props["metadata"]["name"] for r in maps)))
"""
ALL = "each(has_team, MANDATORY), each(not_its_uid, MANDATORY), fix(add_team), whole(few, MANDATORY)"


async def test_an_up_is_refused_before_anything_changes(stack: Stack, pack: Pack) -> None:
    rules = pack(RULES, ALL)
    report = await stack.up(
        """
        configmap("one", {"team": "a"})
        configmap("two", {"k": "v"})
        """,
        policy_packs=(rules,),
    )
    assert not report.ok
    assert stack.objects() == set()
    assert [(r.policy, r.urn.rpartition("::")[2]) for r in report.policy_results] == [("has-team", "two")]
    assert report.changes == []
    assert "violated: has-team (mandatory)" in render(report)
    report = await stack.up(
        """
        for key in ("one", "two", "three"):
            configmap(key, {"team": "a"})
        """,
        policy_packs=(rules,),
    )
    assert [r.message for r in report.policy_results] == ["About few.\ntoo many: one, three, two"]
    assert stack.objects() == set()
    record = stack.cluster.kubectl("get", "secrets", "-n", "berth-system", "-o", "name")
    assert f"demo.{stack.name}" not in record


async def test_remediations_reach_the_cluster(stack: Stack, pack: Pack) -> None:
    rules = pack(RULES, ALL)
    program = 'configmap("named", {"k": "v"})'
    preview_first = await _preview(stack, program, rules)
    report = await stack.up(program, policy_packs=(rules,))
    assert report.ok, render(report)
    assert {(r.policy, r.status) for r in report.policy_results} == {("add-team", "remediated")}
    assert stack.get("configmap/named", ".data.team") == "ml"
    assert [s.op for s in preview_first.changes] == [s.op for s in report.changes] == [Op.CREATE]
    again = await stack.up(policy_packs=(rules,))
    assert again.ok
    assert again.changes == []


async def test_what_only_an_up_knows_is_judged_then(stack: Stack, pack: Pack) -> None:
    rules = pack(RULES, ALL)
    program = """
    first = configmap("first", {"team": "a"})
    late = configmap("late", {"team": "a", "uid": first.metadata["uid"]})
    configmap("after", {"team": "a", "k": late.metadata["uid"]})
    """
    few = pack(RULES, "each(has_team, MANDATORY), each(not_its_uid, MANDATORY)")
    planned = await _preview(stack, program, few)
    assert planned.ok
    assert [(r.policy, r.status) for r in planned.policy_results] == [("not-its-uid", "unevaluated")]
    report = await stack.up(program, policy_packs=(few,))
    assert not report.ok
    assert [(r.policy, r.status, r.message) for r in report.policy_results] == [
        ("not-its-uid", "violated", "About not-its-uid.\nthe uid is known: 36")
    ]
    assert stack.objects() == {"configmap/first"}
    assert any("policy 'not-its-uid' of pack 'rules' forbids" in d.message for d in report.errors)
    assert (await stack.up('configmap("first", {"team": "a"})', policy_packs=(rules,))).ok


async def _preview(stack: Stack, program: str, rules: Any) -> Any:
    stack.write(program)
    return await stack.preview(policy_packs=(rules,))

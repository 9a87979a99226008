"""Policy packs beside a preview: real packs in their own processes see what the Pulumi CLI shows them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
from berth.deployer import render

if TYPE_CHECKING:
    from berth.deployer import PolicyResult, Report

Offline = Any
Pack = Any
ROOT = Path(__file__).resolve().parents[3]
DEV = "urn:pulumi:dev::demo::"
TWO = """
k8s.core.v1.ConfigMap("a", metadata={"name": "a"}, data={"k": "v"})
k8s.core.v1.ConfigMap("b", metadata={"name": "b"}, data={"k": "v"})
"""


def found(report: Report, **wanted: str) -> list[PolicyResult]:
    return [r for r in report.policy_results if all(getattr(r, k) == v for k, v in wanted.items())]


def told(report: Report, policy: str) -> dict[str, Any]:
    """What a policy that reports JSON said, by the name of the resource that it said it of."""
    results = found(report, policy=policy, status="violated")
    return {r.urn.rpartition("::")[2]: json.loads(r.message.partition("\n")[2]) for r in results}


async def test_policies_see_every_resource_with_its_options(offline: Offline, pack: Pack) -> None:
    rules = pack(
        """
        def plain(value):
            if isinstance(value, pulumi.Asset):
                return type(value).__name__
            if hasattr(value, "items"):
                return {key: plain(value[key]) for key in value if key != "bucket"}
            return [plain(v) for v in value] if hasattr(value, "index") and type(value) is not str else value

        def show(args, report):
            o = args.opts
            report(json.dumps({
                "type": args.resource_type, "urn": args.urn, "props": plain(args.props),
                "provider": args.provider and [args.provider.name, plain(args.provider.props)],
                "protect": o.protect, "ignore": list(o.ignore_changes), "parent": o.parent,
                "aliases": list(o.aliases), "secret": list(o.additional_secret_outputs),
                "first": o.delete_before_replace,
                "times": [o.custom_timeouts.create_seconds, o.custom_timeouts.delete_seconds],
                "about": [pulumi.get_project(), pulumi.get_stack(), pulumi.runtime.is_dry_run()],
                "config": pulumi.Config("demo").get("key"),
            }))

        def graph(args, report):
            for r in args.resources:
                report(json.dumps({
                    "parent": r.parent and r.parent.name, "deps": sorted(d.name for d in r.dependencies),
                    "props": {k: [d.name for d in v] for k, v in r.property_dependencies.items()},
                    "keys": sorted(r.props), "provider": r.provider and r.provider.name,
                }), r.urn)
        """,
        "each(show), whole(graph)",
    )
    report = await offline(
        """
        import pulumi_aws as aws
        class App(pulumi.ComponentResource):
            def __init__(self):
                super().__init__("my:app:App", "app", {"tier": "gold"}, pulumi.ResourceOptions(protect=True))
                data = {"k": 1.5, "n": 3, "__x": "y"}
                k8s.core.v1.ConfigMap("child", data=data, opts=pulumi.ResourceOptions(
                    parent=self, ignore_changes=["data.k"], delete_before_replace=False,
                    aliases=[pulumi.Alias(name="was")], additional_secret_outputs=["data"],
                    custom_timeouts=pulumi.CustomTimeouts(create="2m")))
                self.register_outputs({"ready": True})
        App()
        near = aws.Provider("near", region="eu-west-1")
        data = aws.s3.Bucket("data", force_destroy=True, opts=pulumi.ResourceOptions(provider=near))
        aws.s3.BucketObject("file", bucket=data.id, key="k", source=pulumi.StringAsset("text"))
        """,
        config={"key": "from-config"},
        policy_packs=(rules,),
    )
    assert report.ok, render(report)
    saw = told(report, "show")
    assert saw.keys() >= {"demo-dev", "app", "child", "near", "data", "file"}
    child = saw["child"]
    assert child["type"] == "kubernetes:core/v1:ConfigMap"
    assert child["urn"] == f"{DEV}my:app:App$kubernetes:core/v1:ConfigMap::child"
    assert child["parent"] == f"{DEV}my:app:App::app"
    assert child["props"]["data"] == {"k": 1.5, "n": 3}
    assert child["props"]["metadata"]["namespace"] == "default"
    assert child["props"]["metadata"]["name"].startswith("child-")
    assert (child["protect"], child["ignore"], child["first"]) == (True, ["data.k"], False)
    assert child["aliases"] == [f"{DEV}my:app:App$kubernetes:core/v1:ConfigMap::was"]
    assert (child["secret"], child["times"]) == (["data"], [120, 0])
    assert child["about"] == ["demo", "dev", True]
    assert child["config"] == "from-config"
    assert (saw["app"]["props"], saw["app"]["provider"], saw["app"]["first"]) == (
        {"tier": "gold"},
        None,
        None,
    )
    assert saw["demo-dev"]["type"] == "pulumi:pulumi:Stack"
    near, inputs = saw["data"]["provider"]
    assert (near, inputs["region"]) == ("near", "eu-west-1")
    version = saw["file"]["provider"][1]["version"]
    default = f"default_{version.replace('.', '_')}"
    assert saw["file"]["provider"][0] == default
    assert saw[default]["type"] == "pulumi:providers:aws"
    assert saw["file"]["props"] == {"key": "k", "source": "StringAsset"}
    graph = told(report, "graph")
    assert graph["child"] | {"keys": None} == {
        "parent": "app", "deps": [], "props": {}, "keys": None, "provider": child["provider"][0],
    }  # fmt: skip
    assert graph["app"]["keys"] == ["ready"]
    assert graph["file"]["deps"] == ["data"]
    assert graph["file"]["props"] == {"bucket": ["data"]}
    assert {"arn", "forceDestroy"} <= set(graph["data"]["keys"])
    (run,) = report.policy_packs
    assert (run.name, run.version, run.error, run.analyzed) == ("rules", "1.2.3", "", len(saw))
    assert [(p.name, p.level, p.description) for p in run.policies] == [
        ("show", "advisory", "About show."),
        ("graph", "advisory", "About graph."),
    ]


async def test_levels_decide_what_fails_a_run(offline: Offline, pack: Pack) -> None:
    rules = pack(
        """
        def says(args, report):
            if args.name == "a":
                report("no")
        def nothing_is_whole(args, report):
            report("of all", "urn:pulumi:dev::demo::not:there:Thing::x")
            report("of one", [r.urn for r in args.resources if r.name == "b"][0])
        """,
        "each(says, MANDATORY, 'stops'), each(says, ADVISORY, 'advises'), each(says, DISABLED, 'sleeps'),"
        "whole(nothing_is_whole, MANDATORY)",
    )
    report = await offline(TWO, policy_packs=(rules,))
    assert not report.ok
    assert [(r.policy, r.level, r.status, r.urn.rpartition("::")[2]) for r in report.policy_results] == [
        ("stops", "mandatory", "violated", "a"),
        ("advises", "advisory", "violated", "a"),
        ("nothing-is-whole", "mandatory", "violated", ""),
        ("nothing-is-whole", "mandatory", "violated", "b"),
    ]
    (problem,) = report.errors
    assert problem.message == "mandatory policies are violated: nothing-is-whole, stops"
    assert len(report.changes) == 2
    document = report.to_json()
    jsonschema.validate(document, json.loads((ROOT / "docs" / "plan.schema.json").read_text()))
    assert document["policyResults"][0]["message"] == "About stops.\nno"
    again = await offline(TWO, policy_packs=(rules,))
    assert json.dumps(again.to_json()) == json.dumps(document)


async def test_configuration_sets_levels_and_properties(offline: Offline, pack: Pack) -> None:
    rules = pack(
        """
        def asks(args, report):
            report(json.dumps(args.get_config()))
        def plain(args, report):
            report("no")
        limit = PolicyConfigSchema({"most": {"type": "number", "default": 3}, "who": {"type": "string"}})
        """,
        "each(asks, DISABLED, config_schema=limit), each(plain, MANDATORY), each(plain, MANDATORY, 'other')",
        config={
            "all": "advisory",
            "asks": {"enforcementLevel": "mandatory", "who": "me"},
            "other": "disabled",
        },
    )
    report = await offline(TWO, policy_packs=(rules,))
    levels = {policy.name: policy.level for policy in report.policy_packs[0].policies}
    assert levels == {"asks": "mandatory", "plain": "advisory", "other": "disabled"}
    assert told(report, "asks")["a"] == {"most": 3, "who": "me"}
    assert {r.policy for r in report.policy_results} == {"asks", "plain"}


async def test_a_wrong_configuration_names_what_is_wrong(offline: Offline, pack: Pack) -> None:
    body = """
        def plain(args, report):
            report("no")
        limit = PolicyConfigSchema({"most": {"type": "number"}}, required=["most"])
        """
    wrong = {
        "type": {"plain": {"most": "three"}},
        "missing": {"plain": "mandatory"},
        "unknown": {"planar": "mandatory"},
        "level": {"plain": "strict"},
        "shape": {"plain": 3},
        "text": "{not json",
        "list": "[]",
    }
    packs = [pack(body, "each(plain, config_schema=limit)", name=n, config=c) for n, c in wrong.items()]
    report = await offline(TWO, policy_packs=tuple(packs))
    assert not report.ok
    errors = {run.name: run.error for run in report.policy_packs}
    expected = {
        "type": "plain.most: 'three' is not of type 'number'",
        "missing": "plain: 'most' is a required property",
        "unknown": "'planar' is no policy of the pack 'unknown', which has: plain",
        "level": "plain: level 'strict'; allowed are advisory, mandatory, disabled, remediate",
        "shape": "plain: 3 is neither a level nor an object",
        "text": "not JSON",
        "list": "expected an object at the top, found list",
    }
    assert errors.keys() == expected.keys()
    for name, text in expected.items():
        assert text in errors[name]
        assert f"{name}.json" in errors[name]
    assert not report.policy_results


async def test_unknown_values_are_not_a_pass(offline: Offline, pack: Pack) -> None:
    rules = pack(
        """
        def reads(args, report):
            if args.resource_type == "aws:ec2/subnet:Subnet":
                args.props["vpcId"]
        def reads_outputs(args, report):
            for r in args.resources:
                if r.resource_type == "aws:ec2/vpc:Vpc":
                    r.props["arn"]
        def reads_config(args, report):
            if args.name == "known" and args.props["cidrBlock"] != "10.0.1.0/24":
                report("not that")
        def would_fix(args):
            return {**args.props, "tags": {"vpc": args.props["vpcId"]}} if args.name == "net" else None
        """,
        "each(reads, MANDATORY), whole(reads_outputs, MANDATORY), each(reads_config), fix(would_fix)",
    )
    report = await offline(
        """
        import pulumi_aws as aws
        vpc = aws.ec2.Vpc("vpc", cidr_block="10.0.0.0/16")
        aws.ec2.Subnet("net", vpc_id=vpc.id, cidr_block="10.0.0.0/24")
        aws.ec2.Vpc("known", cidr_block="10.0.1.0/24")
        """,
        policy_packs=(rules,),
    )
    assert report.ok
    assert [(r.policy, r.level, r.status, r.urn.rpartition("::")[2]) for r in report.policy_results] == [
        ("reads", "mandatory", "unevaluated", "net"),
        ("reads-outputs", "mandatory", "unevaluated", ""),
        # The runtime hands unknown values to a remediation as they are, and they stay unknown.
        ("would-fix", "mandatory", "remediated", "net"),
    ]
    assert next(s for s in report.steps if s.name == "net").inputs["tags"] == {"vpc": "[unknown]"}
    text = render(report)
    assert "not evaluated: reads (mandatory)" in text
    assert "string value at .vpcId can't be known during preview" in text
    assert "4 policies over 5 resources: 2 not evaluated, 1 remediated" in text


async def test_remediations_change_what_is_planned(offline: Offline, pack: Pack) -> None:
    rules = pack(
        """
        def add_label(args):
            if args.resource_type.endswith("ConfigMap"):
                return {**args.props, "metadata": {**args.props["metadata"], "labels": {"team": "ml"}}}
        def see_label(args):
            if args.resource_type.endswith("ConfigMap") and args.props["metadata"]["labels"]["team"] == "ml":
                return {**args.props, "data": {**args.props["data"], "seen": "yes"}}
        def tag(args):
            if args.resource_type == "aws:s3/bucket:Bucket":
                return {**args.props, "tags": {"team": "ml"}}
        def advised_only(args):
            return {**args.props, "data": {"gone": "wrong"}}
        def must_be_labelled(args, report):
            if args.resource_type.endswith("ConfigMap") and not args.props["metadata"].get("labels"):
                report("no labels")
        """,
        "fix(add_label), fix(see_label), fix(tag), fix(advised_only, ADVISORY),"
        "each(must_be_labelled, MANDATORY)",
    )
    report = await offline(
        """
        import pulumi_aws as aws
        k8s.core.v1.ConfigMap("named", metadata={"name": "named"}, data={"s": config.require_secret("key")})
        k8s.core.v1.ConfigMap("unnamed", data={"k": "v"})
        aws.s3.Bucket("data")
        """,
        config={"key": "canary-5e6f7a8b"},
        secret={"key"},
        policy_packs=(rules,),
    )
    assert report.ok, render(report)
    steps = {step.name: step for step in report.steps}
    assert steps["named"].inputs["data"] == {"s": "[secret]", "seen": "yes"}
    assert steps["named"].inputs["metadata"]["labels"] == {"team": "ml"}
    assert steps["unnamed"].inputs["data"] == {"k": "v", "seen": "yes"}
    assert steps["unnamed"].object == (await offline_object(offline))
    assert steps["data"].inputs == {"tags": {"team": "ml"}}
    assert {(r.policy, r.status, r.urn.rpartition("::")[2], r.message) for r in report.policy_results} == {
        ("add-label", "remediated", "named", "About add-label.\nchanged metadata.labels.team"),
        ("add-label", "remediated", "unnamed", "About add-label.\nchanged metadata.labels.team"),
        ("see-label", "remediated", "named", "About see-label.\nchanged data.seen"),
        ("see-label", "remediated", "unnamed", "About see-label.\nchanged data.seen"),
        ("tag", "remediated", "data", "About tag.\nchanged tags.team"),
    }
    assert "canary-5e6f7a8b" not in render(report, diff=True) + json.dumps(report.to_json())


async def offline_object(offline: Offline) -> str:
    """The object of the same resource where no policy looks at it."""
    report = await offline('k8s.core.v1.ConfigMap("unnamed", data={"k": "v"})')
    return str(next(step.object for step in report.steps if step.name == "unnamed"))


async def test_several_packs_judge_one_after_another(offline: Offline, pack: Pack) -> None:
    first = pack(
        """
        def set_k(args):
            if args.resource_type.endswith("ConfigMap"):
                return {**args.props, "data": {"k": "first"}}
        """,
        "fix(set_k)",
        name="first",
    )
    second = pack(
        """
        def see_k(args, report):
            if args.name == "a":
                report(json.dumps(args.props["data"]["k"]))
        """,
        "each(see_k, MANDATORY)",
        name="second",
    )
    report = await offline(TWO, policy_packs=(first, second))
    assert told(report, "see-k") == {"a": "first"}
    assert [run.name for run in report.policy_packs] == ["first", "second"]
    assert [r.pack for r in report.policy_results] == ["first", "first", "second"]


async def test_a_program_that_fails_leaves_the_whole_stack_unjudged(offline: Offline, pack: Pack) -> None:
    rules = pack(
        """
        def all_is_well(args, report):
            pass
        def one_is_well(args, report):
            pass
        """,
        "whole(all_is_well, MANDATORY), each(one_is_well)",
    )
    report = await offline(TWO + "raise ValueError('half way')", policy_packs=(rules,))
    assert not report.ok
    (result,) = report.policy_results
    assert (result.policy, result.status, result.urn) == ("all-is-well", "unevaluated", "")
    assert "passed" not in render(report).partition("Policies of")[2]


async def test_the_text_is_narrow_and_says_what_passed(offline: Offline, pack: Pack) -> None:
    rules = pack(
        """
        def long_winded(args, report):
            if args.name.startswith("many"):
                report("it is " + "very " * 60 + "bad, see docs/policies.md#long-winded")
        def quiet(args, report):
            pass
        """,
        "each(long_winded), each(quiet, MANDATORY)",
    )
    program = "for n in range(9): k8s.core.v1.ConfigMap(f'many{n}', data={'k': 'v'})"
    text = render(await offline(program, policy_packs=(rules,)))
    section = text.partition("Policies of")[2].partition("\nResources:")[0]
    assert max(map(len, text.splitlines())) <= 80
    assert "violated: long-winded (advisory)" in section
    assert section.count("see docs/policies.md#long-winded") == 5
    assert "- and 4 more; --json has them all" in section
    assert "2 policies over 11 resources: 1 violated" in section
    quiet = pack("def quiet(args, report):\n    pass\n", "each(quiet, MANDATORY)")
    assert "Policies of rules 1.2.3: 1 policy over 3 resources: passed" in render(
        await offline("k8s.core.v1.ConfigMap('a', data={'k': 'v'})", policy_packs=(quiet,))
    )


async def test_a_report_without_packs_carries_the_keys(offline: Offline) -> None:
    document = (await offline(TWO)).to_json()
    assert (document["policyPacks"], document["policyResults"]) == ([], [])

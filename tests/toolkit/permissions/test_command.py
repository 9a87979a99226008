"""`berth permissions`: documents on standard output, what they cannot hold on standard error."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import yaml
from berth.cli.errors import UserError
from berth.cli.permissions import permissions
from berth.deployer import Diagnostic, Report
from click.testing import CliRunner


@pytest.fixture
def run(shipped: dict[str, Report], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command on plans that were made already."""

    async def planned(request: Any) -> Report:
        return shipped[request.stack]

    monkeypatch.setattr("berth.deployer.preview", planned)

    def invoke(*arguments: str) -> Any:
        # In a thread: the command's `asyncio.run` would leave this one without its event loop.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(CliRunner().invoke, permissions, arguments, catch_exceptions=False).result()

    return invoke


def test_a_policy_is_pure_json_and_narrowed_to_the_account(run: Any) -> None:
    done = run("aws-prod", "--format", "aws-policy", "--account", "111122223333")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    documents = found if isinstance(found, list) else [found]
    arns = [arn for one in documents for statement in one["Statement"] for arn in statement["Resource"]]
    assert any(":111122223333:cluster/" in arn for arn in arns)
    assert not any(":eks:eu-central-1:*:" in arn for arn in arns)
    assert "not known from the plan" in done.stderr


def test_roles_and_rules_are_yaml(run: Any) -> None:
    (role,) = yaml.safe_load_all(run("gcp-prod", "--format", "gcp-roles").stdout)
    assert role["role"]["includedPermissions"]
    kinds = {manifest["kind"] for manifest in yaml.safe_load_all(run("onprem", "--format", "rbac").stdout)}
    assert kinds == {"ClusterRole", "Role"}
    (only,) = yaml.safe_load_all(run("onprem", "--format", "rbac", "--first-up").stdout)
    assert only["kind"] == "ClusterRole"
    assert any("secrets" in rule["resources"] for rule in only["rules"])


def test_text_names_each_type_once(run: Any) -> None:
    lines = run("gcp-dev").stdout.splitlines()
    assert sum(line.startswith("gcp:container/cluster:Cluster (") for line in lines) == 1
    assert "Not known from the plan:" in lines


@pytest.mark.parametrize("stack", ["aws-prod", "gcp-prod", "onprem"])
def test_text_is_80_columns_wide_but_for_what_is_copied(run: Any, stack: str) -> None:
    wide = [line for line in run(stack).stdout.splitlines() if len(line) > 80]
    assert not [line for line in wide if line.split()[0] not in {"on", "if", "condition"}]


def test_a_plan_that_failed_needs_no_permissions_but_its_errors_answered(
    run: Any, shipped: dict[str, Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = shipped["onprem"]
    failed = Report("preview", "berth", "wrong", [step for step in plan.steps if step.name == "berth-onprem"])
    failed.diagnostics = [Diagnostic("error", "max is -1")]
    monkeypatch.setitem(shipped, "onprem", failed)
    assert len(failed.steps) == 1
    with pytest.raises(UserError, match="no plan to derive permissions from: max is -1"):
        run("onprem")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("onprem", "--format", "aws-policy"), "no resources on AWS"),
        (("aws-prod", "--account", "12"), "12 digits"),
        (("onprem", "--first-up"), "goes with --format rbac"),
        (("nowhere",), "there is no stack 'nowhere'"),
    ],
)
def test_what_cannot_be_done_is_said(run: Any, arguments: tuple[str, ...], text: str) -> None:
    with pytest.raises(UserError, match=text):
        run(*arguments)

"""`berth permissions`: documents on standard output, what they cannot hold on standard error."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from berth.cli.errors import UserError
from berth.cli.permissions import permissions
from click.testing import CliRunner

if TYPE_CHECKING:
    from berth.deployer import Report


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

"""`berth permissions`: what whoever deploys a stack must be allowed to do."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import click
import yaml

from berth.cli.console import Console
from berth.cli.errors import UserError
from berth.cli.preparing import Need, prepare

if TYPE_CHECKING:
    from berth.permissions import Permissions

FORMATS = ("text", "json", "aws-policy", "gcp-roles", "rbac")
_ACCOUNT = re.compile(r"\d{12}")


@click.command()
@click.argument("stack")
@click.option(
    "--format",
    "layout",
    type=click.Choice(FORMATS),
    default="text",
    help="An IAM policy, Google Cloud's custom roles, RBAC manifests, or everything.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--account", metavar="NUMBER", help="AWS account, to narrow ARNs to it.")
@click.option(
    "--first-up", is_flag=True, help="With rbac: one ClusterRole, for the `up` that makes the namespaces."
)
@click.option("--project", metavar="ID", help="Google Cloud project, where the stack does not say it.")
def permissions(
    stack: str, *, layout: str, as_json: bool, account: str | None, first_up: bool, project: str | None
) -> None:
    """List the least permissions that deploying STACK needs.

    They are derived from its plan, offline: no account, credential or network
    is needed. What no plan can tell is named at the end.
    """
    from berth import deployer
    from berth import permissions as derivation

    if first_up and layout != "rbac":
        raise UserError("--first-up goes with --format rbac")
    if account is not None and not _ACCOUNT.fullmatch(account):
        raise UserError(f"--account {account}: an AWS account is a number of 12 digits, such as 111122223333")
    prepared = prepare(stack, Console(quiet=True), need=Need.LOOK, offline=True)
    report = asyncio.run(deployer.preview(prepared.request))
    if not any(step.custom for step in report.steps):
        reasons = "\n".join(message.message for message in report.errors) or "it plans nothing"
        raise UserError(f"stack '{stack}' has no plan to derive permissions from: {reasons}")
    found = derivation.derive(report, prepared.request.config, account=account, project=project)
    _print(found, "json" if as_json else layout, first_up=first_up)


def _print(found: Permissions, layout: str, *, first_up: bool) -> None:
    from berth import permissions as derivation

    if layout == "json":
        click.echo(json.dumps(found.to_json(), indent=2))
    elif layout == "text":
        click.echo(derivation.text(found), nl=False)
    elif layout == "rbac":
        manifests: list[dict[str, Any]] = derivation.rbac_manifests(found, first_up=first_up)
        _say_nothing(manifests, found, "Kubernetes objects")
        click.echo(yaml.safe_dump_all(manifests, sort_keys=False), nl=False)
        _unknown(found)
    elif layout == "gcp-roles":
        roles = derivation.custom_role(found)
        _say_nothing(roles, found, "resources on Google Cloud")
        click.echo(yaml.safe_dump_all(roles, sort_keys=False), nl=False)
        _unknown(found)
    else:
        policies = derivation.aws_policies(found)
        _say_nothing(policies, found, "resources on AWS")
        click.echo(json.dumps(policies[0] if len(policies) == 1 else policies, indent=2))
        if len(policies) > 1:
            click.echo(
                f"berth: {len(policies)} policies, as a JSON list: one would be larger than a managed policy "
                "may be; attach them all",
                err=True,
            )
        _unknown(found)


def _say_nothing(made: list[dict[str, Any]], found: Permissions, what: str) -> None:
    if not made:
        raise UserError(f"stack '{found.stack}' has no {what}, so there is nothing to print in this format")


def _unknown(found: Permissions) -> None:
    """Say on standard error what the document cannot hold."""
    for one in found.unknown:
        click.echo(f"berth: not known from the plan: {one}", err=True)

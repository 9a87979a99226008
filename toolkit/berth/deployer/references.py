"""What a program reads without owning it: existing objects, and the outputs of other stacks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .compare import public
from .errors import DeployError, Refused
from .manifest import hidden_paths
from .report import Diagnostic
from .state import StackState
from .values import Secret, from_json, has_unknown, mark_secrets

if TYPE_CHECKING:
    from .cluster import Access
    from .desired import Resource
    from .session import Session

_ORGANIZATION_PARTS = 3  # organization/project/stack
_SETTLE_SECONDS = 1.0  # a provider that is declared after the reference is registered within this time


async def read_object(access: Access, resource: Resource, ident: str) -> dict[str, Any]:
    """A live object by its id, `namespace/name` or `name`.

    Raises:
        Refused: it does not exist, or its kind does not.
    """
    version, _, kind_name = resource.type.removeprefix("kubernetes:").rpartition(":")
    kind = await access.api.kind(version.removeprefix("core/"), kind_name)
    namespace, _, name = ident.rpartition("/")
    if kind is not None and kind.namespaced:
        namespace = namespace or "default"
    live = None if kind is None else await access.api.get(kind, namespace, name)
    if live is None:
        raise Refused(f"{resource.type} {ident!r} does not exist on {access.cluster.label}")
    outputs: dict[str, Any] = mark_secrets(public(live), hidden_paths(None, live))
    return outputs


async def read_stack(session: Session, name: str) -> dict[str, Any]:
    """The outputs of another stack, looked for in every cluster that this program names.

    Args:
        session: the run that asks.
        name: `stack`, `project/stack` or `organization/project/stack`.

    Raises:
        Refused: no cluster has it.
    """
    parts = name.split("/")
    project = parts[-2] if len(parts) > 1 else session.request.project
    if len(parts) > _ORGANIZATION_PARTS:
        raise Refused(f"{name!r} is no stack: write it as stack, project/stack or organization/project/stack")
    if session.is_preview:
        recorded = session.request.recorded.outputs(
            session.request.organization, session.request.project, name
        )
        if recorded is not None:
            return {"name": name, **_found(recorded)}
    if session.request.offline:
        return {"name": name}
    asked: list[str] = []
    for delay in (0.0, _SETTLE_SECONDS):
        await asyncio.sleep(delay)
        found, asked = await _look_everywhere(session, project, parts[-1])
        if found is not None:
            return {"name": name, **_found(found)}
    where = "; ".join(asked) or "no cluster"
    text = (
        f"stack {name!r} was not found ({where}). It must have been deployed by this deployer to a cluster "
        "that this program has a provider for, or that the default kubeconfig leads to"
    )
    if not session.is_preview:
        raise Refused(f"{text}.")
    text += "; or its outputs must be recorded in recorded.yaml, under `stacks`. They count as unknown."
    session.context.diagnostics.append(Diagnostic("warning", text, code="reference"))
    return {"name": name}


def _found(outputs: dict[str, Any]) -> dict[str, Any]:
    """Outputs as the SDK wants them: one unknown value would make all of them unknown."""
    secret = sorted(key for key, value in outputs.items() if isinstance(value, Secret))
    known = {key: value for key, value in outputs.items() if not has_unknown(value)}
    return {"outputs": known, "secretOutputNames": secret}


async def _look_everywhere(
    session: Session, project: str, stack: str
) -> tuple[dict[str, Any] | None, list[str]]:
    asked: dict[str, None] = {}
    newest: tuple[str, dict[str, Any]] | None = None
    for provider in session.lookup_providers():
        try:
            access = await session.context.clusters.access(provider)
            record = await StackState(access.api, project, stack, session.request.state_namespace).read()
        except DeployError as error:
            asked[str(error)] = None
            continue
        asked[access.cluster.label] = None
        if record is not None and record.outputs:
            kept = from_json(record.outputs)
            if newest is None or kept["at"] > newest[0]:
                newest = (kept["at"], kept["values"])
    return (newest[1] if newest else None), list(asked)

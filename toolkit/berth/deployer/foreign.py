"""Resources and functions of providers other than Kubernetes: planned without the provider, never applied.

No plugin runs here. Of a resource the inputs are known and everything else is not; the launcher, which has
the SDK's own classes, does the same for what is nested (see there). A function's answer is what was recorded
for it, or unknown.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from .desired import step_of
from .errors import ProgramError, Refused
from .report import Op, Step
from .values import UNKNOWN, Secret, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .desired import Resource

NOTE = "planned without the provider"
AT_ONCE = "The program needs an answer at once: "  # the launcher's words, followed by the function's name
_NAMED = 3  # resources that a refusal names; it counts the others


def is_foreign(type_: str) -> bool:
    """Whether a custom resource's type is another provider's than Kubernetes'."""
    return not type_.startswith(("kubernetes:", "pulumi:"))


def outputs(resource: Resource) -> dict[str, Any]:
    """What the program gets back: its own inputs, with the outputs that its SDK declares secret marked."""
    known = {key: value for key, value in resource.inputs.items() if not key.startswith("__")}
    for name in resource.secret_outputs:
        value = known.get(name, UNKNOWN)
        known[name] = value if isinstance(value, Secret) else Secret(value)
    return known


def step(resource: Resource, op: Op = Op.CREATE) -> Step:
    """A resource's step, labelled; what its SDK declares secret is hidden in its inputs, too."""
    visible = {key: value for key, value in outputs(resource).items() if key in resource.inputs}
    note = f"{NOTE}; takes over {resource.import_id}" if resource.import_id else NOTE
    return step_of(resource, op, note=note, inputs=shown(visible), providerless=True)


def refusal(lacking: Iterable[str], what: str) -> Refused:
    """Why a stack with other providers' resources or functions is neither deployed nor removed here."""
    names = sorted(set(lacking))
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return Refused(
        f"{what} needs the Pulumi CLI, because of {', '.join(names[:_NAMED])}{more}: the deployer previews "
        "what is not Kubernetes', and deploys Kubernetes resources only. Run the command again with "
        "`--engine pulumi`. Nothing was changed."
    )


class Unanswered:
    """The functions that were called and not answered, for the message where a program needs one."""

    def __init__(self) -> None:
        self._calls: list[tuple[str, Mapping[str, Any]]] = []

    def add(self, token: str, args: Mapping[str, Any]) -> None:
        """Remember a call whose answer is unknown."""
        self._calls.append((token, args))

    def explain(self, message: str) -> ProgramError:
        """The launcher's message, completed by how to record the answer."""
        function, _, where = message.removeprefix(AT_ONCE).partition("\n")
        same = [call for call in self._calls if _snake(call[0].rpartition(":")[2]) == function]
        entries = (
            json.dumps(
                {"token": token, "args": shown(args), "result": {}}, ensure_ascii=False, sort_keys=True
            )
            for token, args in same or self._calls
        )
        return ProgramError(
            f"the program calls {function}() in the form that needs its answer at once, and a preview "
            f"without the provider has none. Call {function}_output() instead, whose answer may be unknown; "
            "or record the answer in recorded.yaml beside the stack's file, under `invokes`, with its "
            f"`result` filled in: {' or '.join(sorted(set(entries)))}\n{where}".rstrip()
        )


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()

"""What policy packs found, read from the Pulumi engine's events.

The engine tells violations, and in the summary which packs ran. What the Automation API for Python does not
hand on cannot be told here: which policies a pack has, and what a remediation changed (the CLI applies it,
and its steps show the inputs after it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from berth.deployer import PolicyInfo, PolicyPackRun, PolicyResult
from berth.deployer import urns as urn_parts

from .errors import plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pulumi.automation.events import PolicyEvent

    from berth.deployer import PolicyPack

_STACK = "pulumi:pulumi:Stack"
_LEVELS = {"mandatory", "remediate"}


class Findings:
    """The policy events of one operation."""

    def __init__(self) -> None:
        self._results: dict[PolicyResult, None] = {}
        self._versions: dict[str, str] = {}

    def add(self, event: PolicyEvent) -> PolicyResult:
        """Take one event."""
        text = plain(event.message).strip()
        opening = f"can't run policy '{event.policy_name}' from policy pack "
        unevaluated = text.startswith(opening) and " during preview: " in text
        urn = event.resource_urn or ""
        result = PolicyResult(
            event.policy_pack_name,
            event.policy_name,
            "mandatory" if event.enforcement_level in _LEVELS else "advisory",
            "unevaluated" if unevaluated else "violated",
            "" if urn_parts.type_of(urn) == _STACK else urn,
            text,
        )
        self._results[result] = None
        self._versions.setdefault(event.policy_pack_name, event.policy_pack_version)
        return result

    def ran(self, packs: Mapping[str, str]) -> None:
        """Take in the summary: the packs that ran, with their versions."""
        for name, version in packs.items():
            self._versions[name] = version.removeprefix("v")

    @property
    def results(self) -> tuple[PolicyResult, ...]:
        """What was found, in the order of packs, policies and URNs."""
        return tuple(sorted(self._results, key=lambda r: (r.pack, r.policy, r.urn, r.message)))

    def runs(self, asked: Sequence[PolicyPack], resources: int, error: str) -> tuple[PolicyPackRun, ...]:
        """The packs as the report names them.

        Args:
            asked: the packs of the request; the engine does not say which folder a name belongs to.
            resources: how many resources the engine went through.
            error: why the operation failed; empty where it did not.
        """
        found = []
        for name, version in sorted(self._versions.items()):
            levels = {result.policy: result.level for result in self.results if result.pack == name}
            policies = tuple(PolicyInfo(policy, level) for policy, level in sorted(levels.items()))
            found.append(PolicyPackRun(name, version, policies, resources))
        if not found:
            reason = error or "the Pulumi CLI does not say that it ran"
            found = [PolicyPackRun(pack.folder.name, error=reason) for pack in asked]
        return tuple(found)

    def problem(self) -> str:
        """What keeps the run from being ok, as one sentence; empty where nothing does."""
        violated = sorted({result.policy for result in self.results if result.fails})
        return f"mandatory policies are violated: {', '.join(violated)}" if violated else ""

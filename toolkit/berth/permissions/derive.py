"""From a plan to permissions: every cloud's part, and what cannot be known."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import amazon, google, kubernetes
from .data import VERBS, Needs, aws, gcp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berth.deployer import Report, Step

    from .amazon import Statement
    from .google import Grant
    from .kubernetes import Rule

_STRUCTURE = ("pulumi:", "berth:")
_CLOUDS = {"aws": aws, "gcp": gcp}


@dataclass
class Permissions:
    """What whoever deploys a stack needs.

    Attributes:
        stack: the stack's name.
        types: how many resources of each type the plan has, where there are data for it.
        needs: what each of these types needs, as the data say.
        aws: statements of an IAM policy.
        gcp: what Google Cloud's projects have to grant, by project.
        kubernetes: RBAC rules for whoever writes to the clusters.
        unknown: sentences, each about something that no plan can tell.
        notes: sentences worth knowing.
    """

    stack: str
    types: Mapping[str, int] = field(default_factory=dict)
    needs: Mapping[str, Needs] = field(default_factory=dict)
    aws: list[Statement] = field(default_factory=list)
    gcp: list[Grant] = field(default_factory=list)
    kubernetes: list[Rule] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {
            "stack": self.stack,
            "types": {
                token: {
                    "resources": count,
                    **{verb: list(self.needs[token].by_verb[verb]) for verb in VERBS},
                    "sources": list(self.needs[token].sources),
                }
                for token, count in self.types.items()
            },
            "aws": [statement.to_json() for statement in self.aws],
            "gcp": [grant.to_json() for grant in self.gcp],
            "kubernetes": [rule.to_json() for rule in self.kubernetes],
            "unknown": self.unknown,
            "notes": self.notes,
        }


def derive(
    report: Report,
    config: Mapping[str, str] | None = None,
    *,
    account: str | None = None,
    project: str | None = None,
) -> Permissions:
    """Derive what the planned resources need to be created, read, updated and deleted.

    Args:
        report: of an offline preview: every resource is a step, with the inputs that are known.
        config: the stack's configuration, for providers that take their settings from it.
        account: AWS' account number, to narrow ARNs to it; any account without it.
        project: Google Cloud's project, where the plan does not say it.
    """
    settings = dict(config or {})
    steps = [step for step in report.steps if step.op.value not in {"delete", "retain"}]
    found = Permissions(report.stack)
    counts = Counter(step.type for step in steps if step.custom and not step.type.startswith(_STRUCTURE))
    known: dict[str, Needs] = {}
    for token in sorted(counts):
        cloud = token.partition(":")[0]
        if cloud == "kubernetes":
            continue
        data = _CLOUDS[cloud]().types if cloud in _CLOUDS else {}
        if token not in data:
            many = f"{counts[token]} resources" if counts[token] > 1 else "one resource"
            found.unknown.append(
                f"{token} ({many}): there are no data for this type in berth.permissions; see the provider's "
                "documentation"
            )
            continue
        known[token] = data[token]
    found.types = {token: counts[token] for token in known}
    found.needs = known
    found.aws = amazon.derive(_of(steps, "aws"), settings, account, found.unknown, found.notes)
    found.gcp = google.derive(_of(steps, "gcp"), settings, project, found.unknown, found.notes)
    found.kubernetes = kubernetes.derive(
        [step for step in steps if step.custom and step.type.startswith("kubernetes:")],
        found.unknown,
        found.notes,
    )
    for token, needs in known.items():
        if needs.note:
            found.notes.append(f"{token}: {needs.note}")
    if not steps:
        found.unknown.append("the plan has no resources")
    if any(diagnostic.severity == "error" for diagnostic in report.diagnostics):
        found.unknown.append("the preview has errors, so the plan may lack resources: see `berth preview`")
    return found


def _of(steps: list[Step], cloud: str) -> list[Step]:
    """One cloud's steps: resources, their providers, and our components on it."""
    starts = (f"{cloud}:", f"pulumi:providers:{cloud}", f"berth:{cloud}:")
    return [step for step in steps if step.type.startswith(starts)]

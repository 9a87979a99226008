"""The reference Pod Security evaluator, the one that runs inside of every API server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from .errors import JudgeError
from .manifests import PodTemplate, pod_templates
from .program import FIXTURES, MODULE, POD_SECURITY, ask
from .verdict import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from .exceptions import Exceptions
    from .manifests import Manifest

JUDGE = "pod-security"
RESTRICTED = "restricted"


@dataclass(frozen=True)
class PodVerdict:
    """What the evaluator says of one pod, by level; empty reasons where it passes."""

    baseline: tuple[str, ...]
    restricted: tuple[str, ...]
    error: str = ""
    """Why it is no pod at all."""


@dataclass(frozen=True)
class Fixture:
    """One of the evaluator's own pods, and whether it is to pass `restricted`."""

    name: str
    passes: bool
    metadata: dict[str, Any]
    spec: dict[str, Any]


def version() -> str:
    """The evaluator's version, such as `v0.35.4`: Kubernetes 1.35."""
    found = re.search(rf"{POD_SECURITY} (\S+)", (MODULE / "go.mod").read_text())
    assert found is not None  # noqa: S101 (go.mod is ours)
    return found[1]


def minor() -> str:
    """The version of Kubernetes whose rules are asked, as labels of namespaces write it: `v1.35`."""
    return f"v1.{version().split('.')[1]}"


def reference(
    program: Path, pods: Sequence[tuple[dict[str, Any], dict[str, Any]]], version: str = ""
) -> list[PodVerdict]:
    """Ask the evaluator about pods, each its metadata and its spec.

    ``version`` is that of the rules, by default the newest that it has. What has a field or a type that
    Kubernetes has not gets a verdict with an error.
    """
    asked = [{"version": version or minor(), "metadata": metadata, "spec": spec} for metadata, spec in pods]
    return [
        PodVerdict(
            tuple(one["baseline"]["reasons"] or ()),
            tuple(one["restricted"]["reasons"] or ()),
            one.get("error", ""),
        )
        for one in ask(program, "pods", asked)["answers"]
    ]


def fixtures(program: Path) -> list[Fixture]:
    """The evaluator's own fixtures for `restricted` of its newest version, from its module."""
    folder = program / FIXTURES / minor()
    found = []
    for file in sorted(folder.glob("*/*.yaml")):
        pod = yaml.safe_load(file.read_text())
        found.append(
            Fixture(
                f"{file.parent.name}/{file.stem}", file.parent.name == "pass", pod["metadata"], pod["spec"]
            )
        )
    if not found:
        raise JudgeError(f"{folder} has no fixtures: remove {program}, and start again")
    return found


def judge_pods(manifests: Iterable[Manifest], exceptions: Exceptions, program: Path) -> Verdict:
    """Every pod of every stack passes `restricted`, and its namespace enforces what it passes."""
    manifests = list(manifests)
    templates = list(pod_templates(manifests))
    verdicts = reference(program, [(one.metadata, one.spec) for one in templates])
    for template, verdict in zip(templates, verdicts, strict=True):
        if verdict.error:
            raise JudgeError(f"{template.stack}: the pods of {template.object} are none: {verdict.error}")
    found = [
        finding
        for template, verdict in zip(templates, verdicts, strict=True)
        for finding in _findings(template, verdict)
    ]
    left, excepted, stale = exceptions.split(JUDGE, found, {one.stack for one in manifests})
    return Verdict(JUDGE, version(), len(templates), "pod templates", left, excepted, stale)


def _findings(template: PodTemplate, verdict: PodVerdict) -> list[Finding]:
    reasons = verdict.restricted
    level = template.level or "privileged"
    found = []
    if reasons:
        found.append(Finding(template.stack, template.object, RESTRICTED, "; ".join(reasons)))
    if level != RESTRICTED:
        found.append(
            Finding(
                template.stack,
                template.object,
                "namespace",
                f"the namespace {template.namespace} enforces {template.level or 'nothing'}: "
                "a pod there may ask for anything",
            )
        )
    refused = verdict.baseline if level == "baseline" else reasons if level == RESTRICTED else ()
    if refused:
        found.append(
            Finding(
                template.stack,
                template.object,
                "admission",
                f"the namespace {template.namespace} enforces {level}, so the API server refuses these pods",
            )
        )
    return found

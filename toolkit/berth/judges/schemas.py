"""The strict schemas of several Kubernetes versions: a field that a kind does not have is an error."""

from __future__ import annotations

import functools
from importlib import metadata
from typing import TYPE_CHECKING

import kubernetes_validate  # type: ignore[import-untyped] # it has no types
from kubernetes_validate import utils

from .verdict import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .exceptions import Exceptions
    from .manifests import Manifest

JUDGE = "schemas"
VERSIONS = ("1.34", "1.35", "1.36")
# Kinds of which Kubernetes itself has no schema, and where theirs comes from.
FOREIGN = {
    (
        "karpenter.sh/v1",
        "NodePool",
    ): "its schema is Karpenter's CRD: tests/cluster has it in a real API server",
    ("eks.amazonaws.com/v1", "NodeClass"): "AWS publishes none: it exists inside of EKS Auto Mode only",
}


def judge_by_schemas(manifests: Iterable[Manifest], exceptions: Exceptions) -> Verdict:
    """Every object is what the schemas of ``VERSIONS`` say, and has no field that they do not know."""
    # The library reads megabytes of definitions anew for every object.
    read_once = functools.cache(utils.schema_contents)
    utils.schema_contents, original = read_once, utils.schema_contents
    found: list[Finding] = []
    judged = 0
    foreign = set()
    manifests = list(manifests)
    try:
        for manifest in manifests:
            kind = (manifest.body["apiVersion"], manifest.kind)
            if kind in FOREIGN:
                foreign.add(kind)
                continue
            judged += 1
            for version in VERSIONS:
                try:
                    kubernetes_validate.validate(manifest.body, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    found.append(Finding(manifest.stack, manifest.object, version, error.message))
                except kubernetes_validate.SchemaNotFoundError:
                    none = "this version has no such kind"
                    found.append(Finding(manifest.stack, manifest.object, version, none))
    finally:
        utils.schema_contents = original
    left, excepted, stale = exceptions.split(JUDGE, found, {one.stack for one in manifests})
    return Verdict(
        JUDGE,
        metadata.version("kubernetes-validate"),
        judged,
        f"objects, each by Kubernetes {', '.join(VERSIONS)}",
        left,
        excepted,
        stale,
        tuple(f"{kind} is not judged: {FOREIGN[version, kind]}" for version, kind in sorted(foreign)),
    )

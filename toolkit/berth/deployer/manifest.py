"""From a resource's inputs to the object that is applied, and from objects to differences."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .errors import Refused
from .values import UNKNOWN, Path, Secret, Special, dotted, leaves, secret_paths

PREFIX = "berth.dev/"
URN = PREFIX + "urn"
DEPENDS_ON = PREFIX + "depends-on"
PROTECT = PREFIX + "protect"
RETAIN = PREFIX + "retain-on-delete"
SECRET_PATHS = PREFIX + "secret-paths"
DELETE_SECONDS = PREFIX + "delete-seconds"
PART_OF = "applyset.kubernetes.io/part-of"
GENERATED_NAME = PREFIX + "generated-name"
BOOKKEEPING = frozenset(
    {URN, DEPENDS_ON, PROTECT, RETAIN, SECRET_PATHS, DELETE_SECONDS, GENERATED_NAME},
)

_PULUMI_ANNOTATIONS = frozenset(
    {
        "pulumi.com/skipAwait",
        "pulumi.com/timeoutSeconds",
        "pulumi.com/waitFor",
        "pulumi.com/patchForce",
        "pulumi.com/deletionPropagationPolicy",
    }
)
_REFUSED_TYPES = re.compile(r"^kubernetes:(helm\.sh|yaml|kustomize)[:/]")
_CLUSTER_SCOPED = frozenset(
    {
        "Namespace",
        "Node",
        "PersistentVolume",
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "APIService",
        "StorageClass",
        "PriorityClass",
        "RuntimeClass",
        "IngressClass",
        "CSIDriver",
        "CSINode",
        "VolumeAttachment",
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "CertificateSigningRequest",
        "FlowSchema",
        "PriorityLevelConfiguration",
        "ClusterTrustBundle",
        "DeviceClass",
        "ResourceSlice",
        "GatewayClass",
    }
)
_NAME_BYTES = 4  # of the hash in a generated name: as long as Pulumi's random suffix


class Key(NamedTuple):
    """What makes an object the same object, whatever its version or URN."""

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    @property
    def group_kind(self) -> str:
        """`Deployment.apps`, `ConfigMap`: as ApplySets write it."""
        return f"{self.kind}.{self.group}" if self.group else self.kind


def key_of(manifest: Mapping[str, Any]) -> Key:
    """The object's key; names and namespaces that are unknown become empty."""
    metadata = manifest.get("metadata") or {}
    group = manifest["apiVersion"].rpartition("/")[0]
    namespace, name = (metadata.get(field) for field in ("namespace", "name"))
    return Key(
        group,
        manifest["kind"],
        namespace if isinstance(namespace, str) else "",
        name if isinstance(name, str) else "",
    )


def cluster_scoped(kind: str) -> bool:
    """Whether a kind of Kubernetes' own has no namespace, for planning without a cluster."""
    return kind in _CLUSTER_SCOPED


def refuse_type(type_: str, kind: str) -> str:
    """Why this Kubernetes type, whose inputs give this kind, is not done here; or nothing."""
    own = type_.rpartition(":")[2]
    if own.endswith("Patch") and own != kind:
        return "Patch resources are not supported; declare the whole object, or set the field in its owner"
    if own.endswith("List"):
        return "List resources are not supported; declare each object"
    if not _REFUSED_TYPES.search(type_):
        return ""
    return (
        "Helm charts, YAML files and Kustomize need Pulumi's Kubernetes plugin; declare the objects, or run "
        "this stack with the Pulumi CLI"
    )


def from_inputs(inputs: Mapping[str, Any], type_: str) -> dict[str, Any]:
    """The object that the inputs describe: nulls dropped, a Secret's `stringData` turned into `data`.

    Secrets and unknowns are still wrapped.

    Raises:
        Refused: an asset, an archive or a resource stands where Kubernetes wants data.
    """
    manifest: dict[str, Any] = _clean(inputs)
    for path, leaf in leaves(manifest):
        if isinstance(leaf, Special):
            raise Refused(f"{type_}: {dotted(path)} is {leaf!r}; Kubernetes takes plain values only")
    if "apiVersion" not in manifest or "kind" not in manifest:
        group_version, _, kind = type_.removeprefix("kubernetes:").rpartition(":")
        version = group_version.removeprefix("core/")
        manifest = {"apiVersion": version, "kind": kind, **manifest}
    if manifest["kind"] == "Secret" and manifest["apiVersion"] == "v1":
        manifest = _secret_data(manifest)
    metadata = manifest.get("metadata")
    manifest["metadata"] = dict(metadata) if isinstance(metadata, Mapping) else {}
    return manifest


def _clean(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _clean(v) for k, v in value.items() if v is not None and not str(k).startswith("__")}
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return Secret(_clean(value.value)) if isinstance(value, Secret) else value


def _secret_data(manifest: dict[str, Any]) -> dict[str, Any]:
    """Server-side apply does not remove a key of `stringData` again, so it never gets one."""
    manifest = dict(manifest)
    text = manifest.pop("stringData", None)
    data = manifest.get("data")
    text = text.value if isinstance(text, Secret) else text
    data = data.value if isinstance(data, Secret) else data
    if text is UNKNOWN or data is UNKNOWN:
        manifest["data"] = Secret(UNKNOWN)
        return manifest
    merged = {**(data or {}), **{name: _base64(value) for name, value in (text or {}).items()}}
    if merged:
        manifest["data"] = Secret({k: v.value if isinstance(v, Secret) else v for k, v in merged.items()})
    return manifest


def _base64(value: Any) -> Any:
    inner = value.value if isinstance(value, Secret) else value
    return UNKNOWN if inner is UNKNOWN else base64.b64encode(str(inner).encode()).decode()


def generated_name(name: str, urn: str) -> str:
    """A name for an object whose program gives none: always the same for the same URN."""
    stem = re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-.") or "object"
    return f"{stem[:240]}-{hashlib.sha256(urn.encode()).hexdigest()[: 2 * _NAME_BYTES]}"


def unsupported_annotations(manifest: Mapping[str, Any]) -> list[str]:
    """Annotations of Pulumi's provider that would be silently without effect here."""
    annotations = manifest["metadata"].get("annotations")
    names = annotations if isinstance(annotations, Mapping) else {}
    return sorted(n for n in names if n.startswith("pulumi.com/") and n not in _PULUMI_ANNOTATIONS)


def bookkeep(manifest: dict[str, Any], notes: Mapping[str, str], part_of: str) -> dict[str, Any]:
    """The manifest with our annotations and the ApplySet's label."""
    metadata = dict(manifest["metadata"])
    metadata["annotations"] = {**(metadata.get("annotations") or {}), **notes}
    metadata["labels"] = {**(metadata.get("labels") or {}), PART_OF: part_of}
    return {**manifest, "metadata": metadata}


def notes_for(
    urn: str,
    depends_on: Iterable[str],
    secrets: set[Path],
    *,
    protect: bool,
    retain: bool,
    generated: bool,
    delete_seconds: float | None,
) -> dict[str, str]:
    """The annotations from which a later run knows what this object is."""
    needs = sorted(set(depends_on))
    notes = {
        URN: urn,
        DEPENDS_ON: json.dumps(needs) if needs else "",
        PROTECT: "true" if protect else "",
        RETAIN: "true" if retain else "",
        GENERATED_NAME: "true" if generated else "",
        SECRET_PATHS: json.dumps(sorted(map(list, secrets), key=json.dumps)) if secrets else "",
        DELETE_SECONDS: str(delete_seconds) if delete_seconds is not None else "",
    }
    return {name: value for name, value in notes.items() if value}


def noted(live: Mapping[str, Any], name: str) -> str:
    """One of our annotations on a live object."""
    return str(((live.get("metadata") or {}).get("annotations") or {}).get(name) or "")


def noted_list(live: Mapping[str, Any], name: str) -> list[Any]:
    """One of our annotations that holds a JSON list; anything else there counts as empty."""
    try:
        found = json.loads(noted(live, name) or "[]")
    except ValueError:
        return []
    return found if isinstance(found, list) else []


def hidden_paths(manifest: Mapping[str, Any] | None, live: Mapping[str, Any] | None) -> set[Path]:
    """Where secrets stand: in the inputs, by what an earlier run noted, and in every Secret."""
    paths = secret_paths(manifest) if manifest else set()
    if live:
        paths |= {tuple(path) for path in noted_list(live, SECRET_PATHS) if isinstance(path, list)}
    if (manifest or live or {}).get("kind") == "Secret":
        paths |= {("data",), ("stringData",)}
    return paths

"""What the program wants: one resource as registered, and the Kubernetes object that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import compare
from . import manifest as m
from .errors import Refused
from .readiness import Waiting, seconds, waiting_for
from .report import Op, Step
from .values import UNKNOWN, Path, Secret, has_unknown, parse_path, plain, secret_paths

if TYPE_CHECKING:
    from .client import Kind
    from .cluster import Access, Member, Provider


@dataclass
class Resource:
    """A resource as the program registered it, with what it inherits.

    Attributes:
        aliases: the URNs that it had before, its parents' renamings included.
        depends_on: URNs of custom resources.
        references: per top-level input, the URNs of the resources whose outputs are in it.
        provider_ref: the explicit provider's reference, `<urn>::<id>`; empty for the default one.
        ignore: property paths of `ignore_changes`.
        delete_first: `delete_before_replace`; None where the program says nothing.
        timeouts: `create`, `update`, `delete` as Go durations; empty where unset.
        version: of the provider's SDK.
    """

    urn: str
    type: str
    name: str
    parent: str = ""
    custom: bool = True
    inputs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    depends_on: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    references: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    provider: Provider | None = None
    provider_ref: str = ""
    providers: Mapping[str, str] = field(default_factory=dict)
    protect: bool = False
    retain: bool = False
    delete_first: bool | None = None
    import_id: str = ""
    ignore: tuple[str, ...] = ()
    replace_on: tuple[str, ...] = ()
    secret_outputs: tuple[str, ...] = ()
    timeouts: Mapping[str, str] = field(default_factory=dict)
    version: str = ""


def step_of(resource: Resource, op: Op, **fields: Any) -> Step:
    """A step for a resource, with what the report says of every one."""
    return Step(
        urn=resource.urn,
        type=resource.type,
        name=resource.name,
        parent=resource.parent,
        op=op,
        dependencies=resource.depends_on,
        references=resource.references,
        provider=resource.provider_ref.rpartition("::")[0],
        aliases=resource.aliases,
        protect=resource.protect,
        retain=resource.retain,
        ignore=resource.ignore,
        replace_on=resource.replace_on,
        **fields,
    )


@dataclass
class Desired:
    """The object of a resource.

    Attributes:
        manifest: what is applied, bookkeeping included; secrets in plain, unknowns possible.
        kind: how the API server serves it; None without a cluster or where the kind is missing.
        secrets: where the program put secrets.
        prior: the object that the same resource stood for so far, where that is another one.
    """

    resource: Resource
    key: m.Key
    manifest: dict[str, Any] = field(repr=False)
    kind: Kind | None
    secrets: set[Path]
    waiting: Waiting
    prior: Member | None = None
    force: bool = False
    adopt: bool = False

    @property
    def has_unknown(self) -> bool:
        """Whether something in it is known only to an `up`."""
        return has_unknown(self.manifest)

    @property
    def name_is_unknown(self) -> bool:
        """Whether even which object is meant is not known yet."""
        return not self.key.name or has_unknown(self.manifest["metadata"].get("namespace", ""))

    @property
    def ident(self) -> str:
        """The resource's id, as Pulumi's provider has it."""
        return f"{self.key.namespace}/{self.key.name}" if self.key.namespace else self.key.name

    def hidden(self, live: Mapping[str, Any] | None) -> set[Path]:
        """Every path that must not be shown, by this run and by the one before."""
        return self.secrets | m.hidden_paths(self.manifest, live)

    def to_apply(self, live: Mapping[str, Any] | None) -> dict[str, Any]:
        """The manifest to apply over a live object: what changes are to be ignored stays as it is."""
        result = self.manifest
        if live is not None:
            for text in self.resource.ignore:
                result = compare.keep_live(result, live, _path(text))
        return result

    def wanted(self) -> dict[str, Any]:
        """The object as a report keeps it: without bookkeeping, and emptied of secrets."""
        result: dict[str, Any] = _without_secrets(compare.public(self.manifest), self.secrets)
        data = self.manifest.get("data")
        if self.key.group_kind == "Secret" and data is not None:
            known = isinstance(data, Mapping)
            result["data"] = {key: Secret(None) for key in data} if known else UNKNOWN
        given = self.resource.inputs.get("metadata")
        said = isinstance(given, Mapping) and given.get("namespace") is not None
        if (
            self.kind is None
            and not said
            and "." in self.key.group
            and not self.key.group.endswith(".k8s.io")
        ):
            result["metadata"].pop("namespace", None)  # nobody knows whether that kind has one
        return result

    def must_replace(self, changes: list[compare.Change]) -> list[str]:
        """Which changes the program's `replace_on_changes` turns into a replacement."""
        wanted = [_path(text) for text in self.resource.replace_on]
        return sorted(
            {
                ".".join(map(str, change.path))
                for change in changes
                for path in wanted
                if all(a in ("*", b) for a, b in zip(path, change.path, strict=False))
            }
        )


def _without_secrets(value: Any, roots: set[Path], path: Path = ()) -> Any:
    if path in roots:
        return Secret(None)
    if isinstance(value, Mapping):
        return {key: _without_secrets(item, roots, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_secrets(item, roots, (*path, index)) for index, item in enumerate(value)]
    return value


def _path(text: str) -> Path:
    try:
        return parse_path(text)
    except ValueError:
        raise Refused(f"{text!r} is no property path; write it as spec.replicas or data.key") from None


async def build(resource: Resource, access: Access | None) -> Desired:
    """The object that a resource stands for; without access, as far as it is known without a cluster.

    Raises:
        Refused: the resource asks for something that is not supported.
        ClusterError: the cluster does not say how it serves the kind.
    """
    wrapped = m.from_inputs(resource.inputs, resource.type)
    _refuse_odd(resource, wrapped)
    secrets = secret_paths(wrapped)
    manifest: dict[str, Any] = plain(wrapped)
    kind = await access.api.kind(manifest["apiVersion"], manifest["kind"]) if access else None
    namespaced = kind.namespaced if kind else not m.cluster_scoped(manifest["kind"])
    provider = resource.provider
    if namespaced and "namespace" not in manifest["metadata"]:
        default = access.api.target.namespace if access else "default"
        manifest["metadata"]["namespace"] = (provider and provider.text("namespace")) or default
    generated = "name" not in manifest["metadata"]
    prior = access.cluster.by_urn((resource.urn, *resource.aliases)) if access else None
    if generated:
        manifest["metadata"]["name"] = _generated_name(resource, manifest, prior)
    notes = m.notes_for(
        resource.urn,
        resource.depends_on,
        secrets,
        protect=resource.protect,
        retain=resource.retain,
        generated=generated,
        delete_seconds=seconds(resource.timeouts["delete"]) if resource.timeouts.get("delete") else None,
    )
    key = m.key_of(manifest)
    force = str((manifest["metadata"].get("annotations") or {}).get("pulumi.com/patchForce", "")).lower()
    desired = Desired(
        resource,
        key,
        m.bookkeep(manifest, notes, access.cluster.state.id if access else ""),
        kind,
        secrets,
        waiting_for(manifest, resource.timeouts.get("create", "")),
        prior if prior and m.key_of(prior.live) != key else None,
        force == "true" or bool(provider and provider.flag("enablePatchForce")),
        bool(provider and provider.flag("upsertExistingObjects")),
    )
    desired.adopt = desired.adopt or (bool(resource.import_id) and resource.import_id == desired.ident)
    return desired


def _refuse_odd(resource: Resource, manifest: Mapping[str, Any]) -> None:
    why = m.refuse_type(resource.type, str(manifest["kind"]))
    if why:
        raise Refused(f"{resource.type}: {why}")
    if manifest["metadata"].get("generateName") and "name" not in manifest["metadata"]:
        raise Refused(
            f"{resource.type} {resource.name!r}: metadata.generateName is not supported; leave it out to get "
            "a generated name that stays the same, or set metadata.name"
        )
    odd = m.unsupported_annotations(manifest)
    if odd:
        raise Refused(f"{resource.type} {resource.name!r}: annotation {odd[0]} is not supported")


def _generated_name(resource: Resource, manifest: Mapping[str, Any], prior: Member | None) -> str:
    """The name that the object got when it was created, also after its URN changed; a new one otherwise."""
    if prior is not None and m.noted(prior.live, m.GENERATED_NAME):
        key = m.key_of(prior.live)
        if (key.kind, key.namespace) == (manifest["kind"], manifest["metadata"].get("namespace", "")):
            return key.name
    return m.generated_name(resource.name, resource.urn)

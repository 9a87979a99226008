"""The clusters that a stack reaches: what is there already, and the providers that lead to them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import kubeconfig
from .client import NAMESPACES, Api, Kind
from .errors import FORBIDDEN, ApiError, ClusterError, Refused
from .manifest import PART_OF, URN, Key, key_of, noted
from .values import UNKNOWN, Secret, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .state import StackState

# Settings of Pulumi's provider: what changes nothing here, and what would do something else than it says.
_HARMLESS = frozenset(
    {
        "kubeconfig",
        "context",
        "cluster",
        "namespace",
        "clusterIdentifier",
        "upsertExistingObjects",
        "enablePatchForce",
        "suppressDeprecationWarnings",
        "suppressHelmHookWarnings",
        "enableConfigMapMutable",
        "enableSecretMutable",
        "version",
    }
)


@dataclass(frozen=True)
class Member:
    """An object of this stack as it was when it was listed."""

    kind: Kind
    live: Mapping[str, Any]

    @property
    def urn(self) -> str:
        """The URN under which the program declared it last."""
        return noted(self.live, URN)


class Cluster:
    """One cluster, however many providers lead to it.

    Attributes:
        uid: the uid of its namespace kube-system, or its address where that may not be read.
        state: the stack's record there.
        members: the stack's objects, by key.
        unread: why the record could not be read, where that is forbidden; the plan then knows no deletions.
    """

    def __init__(self, api: Api, uid: str, state: StackState) -> None:
        self.api, self.uid, self.state = api, uid, state
        self.members: dict[Key, Member] = {}
        self.unread = ""
        self._listed: set[str] = set()
        self._read = False
        self._reading = asyncio.Lock()

    @property
    def label(self) -> str:
        """How messages name it."""
        return self.api.target.label

    async def read(self, *, again: bool = False) -> None:
        """Read the stack's record and list its objects, once or again."""
        async with self._reading:
            if again or not self._read:
                await self._read_all()
                self._read = True

    async def _read_all(self) -> None:
        self.members, self._listed, self.unread = {}, set(), ""
        try:
            record = await self.state.read()
        except ApiError as error:
            if error.status != FORBIDDEN:
                raise
            self.unread = f"{self.label}: {error.message}"
            return
        if record is not None:
            await self.list_members(record.group_kinds, record.namespaces)

    async def list_members(self, group_kinds: Iterable[str], namespaces: Iterable[str]) -> None:
        """List the stack's objects of these kinds, unless that was done."""
        wanted = sorted(set(group_kinds) - self._listed)
        self._listed |= set(wanted)
        spaces = sorted(namespaces)
        await asyncio.gather(*(self._list_kind(group_kind, spaces) for group_kind in wanted))

    async def _list_kind(self, group_kind: str, namespaces: list[str]) -> None:
        name, _, group = group_kind.partition(".")
        kind = await self.api.preferred_kind(group, name)
        if kind is None:
            return  # without its definition there is no object of it either
        try:
            await self._list(kind, "")
        except ApiError as error:
            if error.status != FORBIDDEN or not kind.namespaced:
                raise
            await asyncio.gather(*(self._list(kind, namespace) for namespace in namespaces))

    async def _list(self, kind: Kind, namespace: str) -> None:
        async for live in self.api.list(kind, namespace, labels=f"{PART_OF}={self.state.id}"):
            # A controller may copy our label to what it makes; that belongs to the controller.
            owners = live["metadata"].get("ownerReferences") or []
            if noted(live, URN) and not any(owner.get("controller") for owner in owners):
                self.members[key_of(live)] = Member(kind, live)

    def by_urn(self, urns: Iterable[str]) -> Member | None:
        """The object that had one of these URNs."""
        wanted = set(urns)
        return next((member for member in self.members.values() if member.urn in wanted), None)


@dataclass
class Access:
    """A cluster as one provider reaches it: perhaps as another user than the cluster's first."""

    api: Api
    cluster: Cluster


@dataclass
class Provider:
    """A Kubernetes provider of the program, explicit or default.

    Attributes:
        urn: its URN; empty for the default provider.
        inputs: as registered; the values may be secret or unknown.
    """

    urn: str
    inputs: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def text(self, name: str) -> str | None:
        """An input as text; None where it is missing or unknown."""
        value = plain(self.inputs.get(name))
        return None if value is None or value is UNKNOWN else str(value)

    def flag(self, name: str) -> bool:
        """An input as a truth value: on the wire they are strings."""
        return (self.text(name) or "").lower() == "true"

    @property
    def is_unknown(self) -> bool:
        """Whether only the `up` can say which cluster is meant."""
        return any(plain(self.inputs.get(name)) is UNKNOWN for name in ("kubeconfig", "context", "cluster"))

    def refuse(self) -> str:
        """Which of its settings is not supported, or nothing."""
        if (self.text("enableServerSideApply") or "true").lower() == "false":
            return (
                "enableServerSideApply=false is not supported: the deployer always applies on the server side"
            )
        known = _HARMLESS | {"enableServerSideApply"}
        unset = (None, "false", False)
        odd = sorted(n for n, v in self.inputs.items() if n not in known and plain(v) not in unset)
        return f"the setting {odd[0]} of the Kubernetes provider is not supported" if odd else ""


class Clusters:
    """Every cluster that this run came to know.

    Args:
        make_state: the stack's record for a connection.
        on_retry: told one sentence whenever a call is tried again.
        learn_secret: told every credential, so that none is printed.
    """

    def __init__(
        self,
        make_state: Callable[[Api], StackState],
        on_retry: Callable[[str], None],
        learn_secret: Callable[[Any], None],
    ) -> None:
        self._make_state, self._on_retry, self._learn = make_state, on_retry, learn_secret
        self._targets: dict[tuple[str | None, ...], kubeconfig.Target] = {}
        self._apis: list[Api] = []
        self._opening: dict[kubeconfig.Target, asyncio.Task[Access]] = {}
        self._by_uid: dict[str, Cluster] = {}

    @property
    def all(self) -> list[Cluster]:
        """The clusters that were reached, in the fixed order in which Leases are taken."""
        return [self._by_uid[uid] for uid in sorted(self._by_uid)]

    async def access(self, provider: Provider) -> Access:
        """Connect to a provider's cluster; the first call reads what the stack has there.

        Raises:
            ConfigError: its kubeconfig is wrong.
            ClusterError: the cluster does not answer, or not as it should.
        """
        named = provider.text("kubeconfig"), provider.text("context"), provider.text("cluster")
        target = self._targets.get(named)
        if target is None:
            target = self._targets[named] = kubeconfig.load(*named)
            for secret in target.secrets():
                self._learn(secret)
        if target not in self._opening:
            self._opening[target] = asyncio.create_task(self._open(target))
        return await asyncio.shield(self._opening[target])

    async def _open(self, target: kubeconfig.Target) -> Access:
        api = Api(target, self._on_retry)
        self._apis.append(api)
        namespace = None
        try:
            namespace = await api.get(NAMESPACES, "", "kube-system")
        except ApiError as error:
            if error.status != FORBIDDEN:
                raise ClusterError(f"{target.label}: {error.message}") from None
        finally:
            for secret in api.credentials.secrets:
                self._learn(secret)
        uid = namespace["metadata"]["uid"] if namespace else target.server
        known = self._by_uid.get(uid)
        if known is None:
            known = self._by_uid[uid] = Cluster(api, uid, self._make_state(api))
        await known.read()
        return Access(api, known)

    async def close(self) -> None:
        """Close every connection."""
        for task in self._opening.values():
            task.cancel()
        await asyncio.gather(*self._opening.values(), return_exceptions=True)
        for api in self._apis:
            await api.close()


def owner(live: Mapping[str, Any]) -> str:
    """The id of the ApplySet that an object belongs to, or nothing."""
    return str((live["metadata"].get("labels") or {}).get(PART_OF) or "")


def refuse_foreign(key: Key, live: Mapping[str, Any], access: Access) -> None:
    """Refuse an object that exists and is not this stack's.

    Raises:
        Refused: with what to do.
    """
    theirs = owner(live)
    if theirs:
        raise Refused(
            f"{key} on {access.cluster.label} belongs to another stack or tool ({theirs}, URN "
            f"{noted(live, URN) or 'unknown'}). Give it another name here, or remove it there first."
        )
    ident = f"{key.namespace}/{key.name}" if key.namespace else key.name
    raise Refused(
        f"{key} exists already on {access.cluster.label}, and this stack did not create it. To take it over, "
        f'set the option import_="{ident}" (or the provider\'s upsertExistingObjects); or use another name.'
    )


def hide(value: Any) -> Any:
    """A provider's inputs for display: the contents of a kubeconfig are a secret, a path is not."""
    text = plain(value.get("kubeconfig")) if isinstance(value, dict) else None
    if isinstance(text, str) and ("\n" in text or text.lstrip().startswith("{")):
        return {**value, "kubeconfig": Secret(text)}
    return value

"""The plan of a whole stack: what each object's plan leaves open is settled when the program has ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import urns
from .apply import missing_kind
from .cluster import Access, Cluster, Provider
from .errors import ClusterError, ConfigError, DeployError, Refused
from .foreign import refusal
from .plan import Outcome, plan, protected
from .prune import Doomed, undeclared
from .report import Diagnostic, Op

if TYPE_CHECKING:
    from . import manifest as m
    from .desired import Desired
    from .request import Context
    from .session import Session

_WORKLOADS = frozenset(
    {"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Pod", "ReplicationController"}
)


@dataclass
class Plan:
    """What an `up` would do.

    Attributes:
        outcomes: per URN of an object.
        doomed: what is no longer declared, objects that others take the place of included.
        to_come: namespaces and kinds that the program itself creates, as (cluster uid, sort, name).
        followed: URNs of Services and the like that a workload depends on, so that waiting for the pods
            behind them would wait for ever.
        runs: per cluster uid, the last run as the record had it when this was planned.
    """

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    doomed: list[Doomed] = field(default_factory=list)
    to_come: set[tuple[str, str, str]] = field(default_factory=set)
    followed: set[str] = field(default_factory=set)
    runs: dict[str, str] = field(default_factory=dict)

    @property
    def deletions(self) -> list[Doomed]:
        """What goes without anything taking its place."""
        replaced = {(o.step.cluster, o.replaced) for o in self.outcomes.values() if o.replaced}
        return [item for item in self.doomed if (item.cluster.label, item.key) not in replaced]


class Planner:
    """Plans each object as the program declares it, and the whole when it has ended."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._objects: dict[str, tuple[Desired, Access, Outcome]] = {}

    async def object(self, desired: Desired, access: Access) -> Outcome:
        """Plan one object."""
        outcome = await plan(desired, access)
        self._objects[desired.resource.urn] = (desired, access, outcome)
        self._context.tell("planned", outcome.step.object, outcome.step)
        return outcome

    def halt(self) -> None:
        """Nothing: a plan tells everything that is wrong."""

    async def complete(self, session: Session, *, for_up: bool, ended_well: bool) -> Plan:
        """The plan of the whole stack; what is wrong with it is told to the context.

        Args:
            session: the run that declared everything.
            for_up: whether what an `up` cannot do is an error rather than a warning.
            ended_well: false where the program did not declare everything it wanted: then nothing counts as
                undeclared.
        """
        result = Plan(outcomes={urn: outcome for urn, (_, _, outcome) in self._objects.items()})
        result.to_come = self._to_come()
        result.followed = followed(session)
        if for_up and session.lacking:
            self._context.complain(refusal(session.lacking, f"up of stack {session.request.stack!r}"))
            return result
        self._settle_needs(result)
        self._forbidden(for_up=for_up)
        if session.request.offline:
            return result
        try:
            for provider in session.used_providers():
                if not provider.is_unknown:
                    await self._context.clusters.access(provider)
                elif for_up:
                    raise Refused(
                        f"provider {urns.name_of(provider.urn)!r} leads to a cluster that is known only "
                        "after this program has created something. Deploy that as a stack of its own first."
                    )
            if ended_well:
                await self._find_doomed(session, result)
        except DeployError as error:
            self._context.complain(error)
        clusters = self._context.clusters.all
        result.runs = {c.uid: (c.state.record.run.get("id", "") if c.state.record else "") for c in clusters}
        return result

    def _to_come(self) -> set[tuple[str, str, str]]:
        found = set()
        for desired, access, outcome in self._objects.values():
            created = outcome.step.op in {Op.CREATE, Op.REPLACE}
            if created and desired.key.kind == "Namespace" and not desired.key.group:
                found.add((access.cluster.uid, "namespace", desired.key.name))
            elif created and desired.key.kind == "CustomResourceDefinition":
                spec = desired.manifest.get("spec") or {}
                kind = f"{(spec.get('names') or {}).get('kind')}.{spec.get('group')}"
                found.add((access.cluster.uid, "kind", kind))
        return found

    def _settle_needs(self, result: Plan) -> None:
        """An object may come into a namespace, or be of a kind, that the program itself creates."""
        for urn, (desired, access, outcome) in self._objects.items():
            if outcome.needs is None or (access.cluster.uid, *outcome.needs) in result.to_come:
                continue
            sort, name = outcome.needs
            version, where = desired.manifest["apiVersion"], access.cluster.label
            text = (
                missing_kind(name, version, where)
                if sort == "kind"
                else f"{desired.key}: namespace {name!r} does not exist on {where}, and the program does not "
                "declare it. Create it, declare it, or use another."
            )
            error = ClusterError(text)
            error.code = f"no-{sort}"
            self._context.complain(error, urn)

    def _forbidden(self, *, for_up: bool) -> None:
        reasons = [outcome.forbidden for _, _, outcome in self._objects.values() if outcome.forbidden]
        reasons += [c.unread for c in self._context.clusters.all if c.unread]
        if not reasons:
            return
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        if for_up:
            error = ClusterError(
                f"forbidden: {reasons[0]}{more}. Ask for these rights, or deploy as another user."
            )
            error.code = "forbidden"
            self._context.complain(error)
            return
        text = f"previewed in part from the inputs alone, since this is forbidden: {reasons[0]}{more}"
        self._context.diagnostics.append(Diagnostic("warning", text, code="forbidden"))

    async def _find_doomed(self, session: Session, result: Plan) -> None:
        await self._reach_recorded()
        clusters = self._context.clusters.all
        for cluster in clusters:
            keys = session.declared.get(cluster.uid, {})
            spaces = {key.namespace for key in keys if key.namespace}
            kinds = {outcome.needs[1] for outcome in result.outcomes.values() if outcome.needs}
            await cluster.list_members({key.group_kind for key in keys} - kinds, spaces)
        result.doomed = undeclared(clusters, session.declared)
        gone = {(item.cluster.label, item.key) for item in result.doomed}
        for outcome in result.outcomes.values():
            if outcome.replaced and (outcome.step.cluster, outcome.replaced) not in gone:
                outcome.replaced = None  # another resource of the program has taken that object over
                outcome.step.op, outcome.step.replace_reasons, outcome.step.note = Op.CREATE, (), ""
        for item in result.doomed:
            if item.protected:
                self._context.complain(Refused(protected(item.key, "deleted")), item.member.urn)

    async def _reach_recorded(self) -> None:
        """Go to the clusters that the stack has objects on, though the program no longer names them."""
        for cluster in list(self._context.clusters.all):
            for known in cluster.state.record.clusters if cluster.state.record else []:
                if all(known.get("uid") != other.uid for other in self._context.clusters.all):
                    await reach(self._context, known, cluster)


async def reach(context: Context, known: dict[str, str], by: Cluster) -> None:
    """Connect to a cluster as a record names it.

    Raises:
        ClusterError: it cannot be reached, or something else is there now.
    """
    inputs = {name: known[name] for name in ("kubeconfig", "context") if known.get(name)}
    what = (
        f"the stack also has objects on {known.get('context') or 'a cluster'} ({known.get('server')}), "
        f"as its record on {by.label} says"
    )
    try:
        access = await context.clusters.access(Provider("", inputs))
    except (ClusterError, ConfigError) as error:
        raise ClusterError(f"{what}, but: {error}") from None
    if access.cluster.uid != known.get("uid"):
        raise ClusterError(
            f"{what}, but {access.cluster.label} is another cluster now. Name it in the program again, "
            "or hand its kubeconfig to `down`."
        )


def followed(session: Session) -> set[str]:
    """Everything that a workload depends on, directly or not."""
    found: set[str] = set()
    for resource in session.resources.values():
        if resource.type.rpartition(":")[2] in _WORKLOADS:
            left = list(resource.depends_on)
            while left:
                urn = left.pop()
                if urn not in found:
                    found.add(urn)
                    above = session.resources.get(urn)
                    left += above.depends_on if above else ()
    return found


def declared_kinds(keys: dict[m.Key, str]) -> tuple[set[str], set[str]]:
    """The group-kinds and the namespaces of these objects, as an ApplySet's parent lists them."""
    return {key.group_kind for key in keys}, {key.namespace for key in keys if key.namespace}

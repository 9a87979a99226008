"""Drift: what a stack's clusters have that its program did not ask, by field and by who wrote it.

The program runs as for a preview, and each object is compared with the result of a forced dry-run apply. What
that would change is drift; so is a field that somebody else than the deployer or a known controller owns.
Nothing is changed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from . import plan as planning
from .apply import missing_kind
from .client import FIELD_MANAGER
from .cluster import owner
from .compare import Change, immutable_fields, public, veiled, wanted_changes, with_unknowns
from .compare import differences as compared
from .drifted import Drift, DriftReport, Remedy, Unchecked, What, redacted
from .errors import FORBIDDEN, NOT_FOUND, UNPROCESSABLE, ApiError, ClusterError, ConfigError, DeployError
from .managed import Entry, Writer, at, entries, topmost
from .planning import declared_kinds, reach
from .prune import undeclared
from .report import Op
from .session import Session
from .values import dotted, has_unknown, parse_path, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .cluster import Access
    from .command import Command
    from .desired import Desired
    from .expected import Expected
    from .plan import Outcome
    from .values import Path

CLOUD = "the deployer asks no cloud; `pulumi refresh --preview-only` compares these"
_REPORTED = frozenset({"status"})  # what is reported is not asked, so it cannot drift
_SCALABLE = frozenset({("apps", "Deployment"), ("apps", "StatefulSet"), ("apps", "ReplicaSet")})
_STAND_IN = "berth-drift-stand-in"  # a dry run makes nothing of this name
_NO_CLUSTER = "the cluster is known only to the Pulumi CLI, or once it is made"


class Examiner:
    """Compares each object as the program declares it."""

    def __init__(self, expected: Iterable[Expected]) -> None:
        self._expected = tuple(expected)
        self.drift: list[Drift] = []
        self.expected: list[Drift] = []
        self.unchecked: list[Unchecked] = []
        self.checked = 0
        self._refused: dict[str, bool] = {}  # by URN, whether an up would be refused as well
        self._listing = asyncio.Lock()
        self._autoscaled: dict[tuple[str, str], dict[tuple[str, str], str]] = {}

    async def object(self, desired: Desired, access: Access) -> Outcome:
        """Compare one object."""
        where = access.cluster.label
        if desired.name_is_unknown:
            self._skip(desired, "its name is known only to an up")
            return planning.offline(desired)
        if desired.kind is None:
            self.checked += 1
            text = missing_kind(desired.key.group_kind, desired.manifest["apiVersion"], where)
            self._missing(desired, where, text)
            return planning.offline(desired)
        live, after = await self._ask(desired, access)
        self.checked += 1
        if live is None:
            self._missing(desired, where)
            return _outcome(desired, access, None, after)
        if owner(live) != access.cluster.state.id:
            writers = tuple(entry.writer for entry in _others(entries(live)))
            self.drift.append(
                Drift(
                    What.UNMARKED, str(desired.key), where, desired.resource.urn, has=owner(live) or None,
                    writers=writers, remedy=Remedy.BY_HAND,
                )
            )  # fmt: skip
            return _outcome(desired, access, live, after)
        before = len(self.drift)
        self._compare(desired, where, live, after)
        if any(one.what is What.ADDED for one in self.drift[before:]):
            await self._forgive_defaults(desired, access, live)
        if (desired.key.group, desired.key.kind) in _SCALABLE:
            await self._replicas(desired, access, live)
        return _outcome(desired, access, live, after)

    def halt(self) -> None:
        """Nothing is under way that could be stopped: a comparison changes nothing."""

    def _skip(self, desired: Desired, reason: str) -> None:
        resource = desired.resource
        self.unchecked.append(Unchecked(resource.type, resource.name, resource.urn, reason))

    def _missing(self, desired: Desired, where: str, has: str | None = None) -> None:
        self.drift.append(Drift(What.MISSING, str(desired.key), where, desired.resource.urn, has=has))

    async def _ask(
        self, desired: Desired, access: Access
    ) -> tuple[Mapping[str, Any] | None, dict[str, Any] | None]:
        """The live object and what a forced apply would make of it, both of one moment where possible."""
        kind, key = desired.kind, desired.key
        assert kind is not None  # noqa: S101 - for the type checker; object() has checked it
        live, after = None, None
        for _ in range(planning.REREADS):
            live = await access.api.get(kind, key.namespace, key.name)
            if desired.has_unknown or (live is not None and owner(live) != access.cluster.state.id):
                return live, None
            try:
                after = await access.api.apply(kind, desired.to_apply(live), dry_run=True, force=True)
            except ApiError as error:
                if error.is_stale:
                    continue
                if live is None and error.status == NOT_FOUND:  # its namespace is missing, too
                    return None, None
                if error.status == FORBIDDEN:
                    raise ClusterError(
                        f"{key} on {access.cluster.label}: {error.message}. A drift check needs get, list "
                        "and patch: it compares with a dry run, which changes nothing."
                    ) from None
                if live is not None and error.status == UNPROCESSABLE:
                    # What others wrote does not go together with what the program asks, so that only
                    # the two texts can be compared; or only a replacement could bring it back.
                    self._refused[desired.resource.urn] = not immutable_fields(error)
                    return live, None
                raise planning.explain(desired, access, error) from None
            if live is None or _version(live) == _version(after):
                break
        return (None if after is not None and after["_created"] else live), after

    def _compare(
        self, desired: Desired, where: str, live: Mapping[str, Any], after: Mapping[str, Any] | None
    ) -> None:
        owned = entries(live)
        others = _others(owned)
        hidden = desired.hidden(live)
        changes = _changes(desired, live, after)
        told: list[Drift] = []
        for change in changes:
            theirs = tuple(entry.writer for entry in others if entry.holds(change.path))
            what, remedy = _judge(change, theirs, owned)
            if self._refused.get(desired.resource.urn):
                remedy = Remedy.BY_HAND
            told.append(
                Drift(
                    what, str(desired.key), where, desired.resource.urn, dotted(change.path),
                    asked=shown(veiled(change.after, change.path, hidden)),
                    has=shown(veiled(change.before, change.path, hidden)),
                    writers=theirs or _ours(owned) if what is What.PENDING else theirs,
                    remedy=remedy,
                )
            )  # fmt: skip
        self.drift += told
        # Where only the texts could be compared, what else is in a list's changed item came with it.
        up = 1 if desired.resource.urn in self._refused else 0
        self._added(desired, where, live, [change.path[: len(change.path) - up] for change in changes])

    def _added(self, desired: Desired, where: str, live: Mapping[str, Any], told: list[Path]) -> None:
        """What others wrote that the program does not set; `told` is said already."""
        owned, hidden = entries(live), desired.hidden(live)
        ours = {path for entry in owned if _is_ours(entry) for path in entry.paths}
        left_alone = [parse_path(text) for text in desired.resource.ignore]
        for entry in _others(owned):
            candidates = {
                path
                for path in entry.paths
                if path not in ours and path[0] not in _REPORTED and not _touches(path, told)
            }
            for path in topmost(candidates, ours | set(told)):
                why = self._why_expected(desired, entry.writer, path)
                if any(_matches(pattern, path) for pattern in left_alone):
                    why = why or "the program leaves it as it is (ignore_changes)"
                found = Drift(
                    What.ADDED, str(desired.key), where, desired.resource.urn, dotted(path),
                    has=shown(veiled(at(live, path), path, hidden)),
                    writers=(entry.writer,), remedy=Remedy.BY_HAND, reason=why,
                )  # fmt: skip
                (self.expected if why else self.drift).append(found)

    async def _forgive_defaults(self, desired: Desired, access: Access, live: Mapping[str, Any]) -> None:
        """Drop what others own and the API server would fill in just so: `kubectl replace` owns defaults.

        What it fills in shows a dry run of the same object under a name that nobody has. Where that is
        refused (a node port is taken, a definition's name is fixed), everything stays told.
        """
        assert desired.kind is not None  # noqa: S101 - for the type checker; object() has checked it
        metadata = {**desired.manifest["metadata"], "name": _STAND_IN}
        try:
            fresh = await access.api.apply(
                desired.kind, {**desired.manifest, "metadata": metadata}, dry_run=True
            )
        except ApiError:
            return
        urn = desired.resource.urn

        def filled_in(one: Drift) -> bool:
            if one.what is not What.ADDED or one.urn != urn:
                return False
            path = parse_path(one.path)
            return at(fresh, path) is not None and at(fresh, path) == at(live, path)

        self.drift = [one for one in self.drift if not filled_in(one)]

    async def _replicas(self, desired: Desired, access: Access, live: Mapping[str, Any]) -> None:
        """Replicas that the program leaves open: the API server records no writer where nobody owned them."""
        path: Path = ("spec", "replicas")
        count = at(live, path)
        if at(desired.manifest, path) is not None or count in {None, 1}:
            return
        if any(path in entry.paths for entry in entries(live)):
            return  # then it is told as any other field is
        by = (await self._autoscalers(access, desired.key.namespace)).get(
            (desired.key.kind, desired.key.name)
        )
        why = f"HorizontalPodAutoscaler {by} owns the replicas" if by else ""
        found = Drift(
            What.ADDED, str(desired.key), access.cluster.label, desired.resource.urn, dotted(path),
            has=count, remedy=Remedy.BY_HAND, reason=why,
        )  # fmt: skip
        (self.expected if why else self.drift).append(found)

    async def _autoscalers(self, access: Access, namespace: str) -> dict[tuple[str, str], str]:
        """The names of a namespace's autoscalers by the kind and name of what they scale."""
        async with self._listing:
            known = self._autoscaled.get((access.cluster.uid, namespace))
            if known is None:
                known = {}
                kind = await access.api.preferred_kind("autoscaling", "HorizontalPodAutoscaler")
                if kind is not None:
                    async for one in access.api.list(kind, namespace):
                        target = one["spec"]["scaleTargetRef"]
                        known[target["kind"], target["name"]] = one["metadata"]["name"]
                self._autoscaled[access.cluster.uid, namespace] = known
        return known

    def _why_expected(self, desired: Desired, writer: Writer, path: Path) -> str:
        kind = desired.key.group_kind
        return next((one.reason for one in self._expected if one.covers(writer, kind, path)), "")


def _version(live: Mapping[str, Any]) -> Any:
    return live["metadata"].get("resourceVersion")


def _is_ours(entry: Entry) -> bool:
    return entry.writer.manager == FIELD_MANAGER


def _others(owned: list[Entry]) -> list[Entry]:
    return [entry for entry in owned if not _is_ours(entry)]


def _ours(owned: list[Entry]) -> tuple[Writer, ...]:
    return tuple(entry.writer for entry in owned if _is_ours(entry))


def _touches(path: Path, others: Iterable[Path]) -> bool:
    return any(path[: len(other)] == other for other in others)


def _matches(pattern: Path, path: Path) -> bool:
    return len(path) >= len(pattern) and all(a in ("*", b) for a, b in zip(pattern, path, strict=False))


def _judge(change: Change, theirs: tuple[Writer, ...], owned: list[Entry]) -> tuple[What, Remedy]:
    """Which sort of drift a change is: what others wrote, what was taken away, or what is to be deployed."""
    if theirs:
        return What.CHANGED, Remedy.TAKE_BACK
    if change.kind == "add":
        return What.REMOVED, Remedy.UP
    ours = any(entry.holds(change.path) for entry in owned if _is_ours(entry))
    return (What.PENDING if ours else What.CHANGED), Remedy.UP


def _changes(desired: Desired, live: Mapping[str, Any], after: Mapping[str, Any] | None) -> list[Change]:
    """What the program would change, down to the single items of lists whose items have names."""
    if after is None:
        known = wanted_changes(live, desired.to_apply(live))
        return [change for change in known if not has_unknown(change.after)]
    return [fine for change in compared(live, after) for fine in _finer(change)]


def _finer(change: Change) -> list[Change]:
    """A change of a whole list as changes of its items, where both lists name theirs."""
    before, after = _named(change.before), _named(change.after)
    if before is None or after is None:
        return [change]
    places = {name: index for index, name in enumerate(before)}
    found: list[Change] = []
    for name in {**before, **after}:
        path = (*change.path, places.get(name, len(places)))
        if name not in before:
            found.append(Change(path, "add", None, after[name]))
        elif name not in after:
            found.append(Change(path, "delete", before[name], None))
        elif before[name] != after[name]:
            found.append(Change(path, "update", before[name], after[name]))
    return found or [change]


def _named(value: Any) -> dict[str, Any] | None:
    """The items of a list by their names; None where they have none, or not one each."""
    if not isinstance(value, list):
        return None
    found = {item["name"]: item for item in value if isinstance(item, dict) and "name" in item}
    return found if len(found) == len(value) else None


def _outcome(
    desired: Desired, access: Access, live: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> Outcome:
    """What the program gets back, as from a preview."""
    created = live is None
    step = planning.new_step(desired, access, Op.CREATE if created else Op.SAME)
    known = public(after or live or desired.manifest)
    predicted = with_unknowns(known, desired.manifest, created=created, changed=created)
    return planning.Outcome(step, planning.finish(desired, step, predicted, live, []))


async def drift(command: Command, expected: Iterable[Expected]) -> DriftReport:
    """See the package's `drift`."""
    context = command.context
    request = command.request
    examiner = Examiner(expected)
    try:
        context.tell("phase", f"comparing {command.what} with its clusters")
        session = Session(context, examiner, dry_run=True, preview=True)
        ended_well = await command.run_program(session)
        report = DriftReport(request.project, request.stack, checked=examiner.checked)
        report.unchecked = examiner.unchecked + _not_asked(session)
        report.drift, report.expected = examiner.drift, examiner.expected
        if ended_well:
            try:
                report.drift += await _extra(command, session)
            except (ClusterError, ConfigError) as error:
                context.complain(error)
        _nothing_there(command, report)
        report.diagnostics = sorted(
            (d for d in context.diagnostics if d.severity == "error" or d.code != "program"),
            key=lambda d: (d.severity != "error", d.urn, d.message),
        )
        if not ended_well and not any(d.severity == "error" for d in report.diagnostics):
            context.complain(DeployError("the program did not end well; nothing was concluded from it"))
            report.diagnostics = list(context.diagnostics)
        report.drift.sort(key=lambda one: (one.cluster, one.object, one.path, one.what))
        report.expected.sort(key=lambda one: (one.cluster, one.object, one.path, one.reason))
        report.unchecked.sort(key=lambda one: (one.reason, one.type, one.name))
        report.clusters = tuple(cluster.label for cluster in context.clusters.all)
        return redacted(report, command.redactor)
    finally:
        await command.close()


def _not_asked(session: Session) -> list[Unchecked]:
    found = []
    for step in session.steps.values():
        if step.providerless:
            found.append(Unchecked(step.type, step.name, step.urn, CLOUD, cloud=True))
        elif step.custom and step.op is not Op.READ and not step.cluster and step.object:
            found.append(Unchecked(step.type, step.name, step.urn, _NO_CLUSTER))
    known: dict[str, Unchecked] = {one.urn: one for one in found}
    return list(known.values())


async def _extra(command: Command, session: Session) -> list[Drift]:
    """Objects with the stack's mark that the program does not declare."""
    context = command.context
    for cluster in list(context.clusters.all):
        if cluster.unread:
            raise ClusterError(f"the stack's record cannot be read: {cluster.unread}")
        for known in cluster.state.record.clusters if cluster.state.record else []:
            if all(known.get("uid") != other.uid for other in context.clusters.all):
                await reach(context, known, cluster)
    await asyncio.gather(
        *(c.list_members(*declared_kinds(session.declared.get(c.uid, {}))) for c in context.clusters.all)
    )
    return [
        Drift(
            What.EXTRA, str(item.key), item.cluster.label, item.member.urn,
            writers=tuple(entry.writer for entry in entries(item.member.live)),
            remedy=Remedy.BY_HAND if item.protected else Remedy.UP,
        )
        for item in undeclared(context.clusters.all, session.declared)
    ]  # fmt: skip


def _nothing_there(command: Command, report: DriftReport) -> None:
    """A stack that was never deployed has not drifted: say so."""
    clusters = command.context.clusters.all
    if clusters and not any(cluster.state.record for cluster in clusters):
        where = ", ".join(cluster.label for cluster in clusters)
        report.drift, report.expected, report.checked = [], [], 0
        command.context.complain(
            ClusterError(f"{command.what} is not deployed on {where}: there is nothing to compare")
        )

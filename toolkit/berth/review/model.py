"""A review: what a change does to every stack, compared with what there was before.

Nothing in it is secret, and nothing in it depends on when or where it was made: the same two sets of plans
give the same review.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["add", "update", "delete"]
State = Literal["changed", "same", "new", "gone", "failed", "not compared"]

OPS = ("create", "update", "replace", "delete", "retain")
"""What can happen to a resource, in the order in which tables show it."""
DESTRUCTIVE = frozenset({"replace", "delete"})
NO_COST = "no stack says what it costs"


@dataclass(frozen=True)
class Resource:
    """A resource on one side of the comparison.

    Attributes:
        urn: its URN.
        type: Pulumi's type token.
        name: its name in the program.
        parent: its parent's URN, empty at the root.
        custom: false for components, providers and the stack: they are structure, not objects.
        inputs: as plain JSON, secrets and unknowns replaced by words.
        object: how people name the object, `Kind namespace/name`, or nothing.
        aliases: the URNs that it had before.
        protect: whether it may not be deleted.
        retain: whether the object stays where the resource is no longer declared.
        ignore: property paths of which changes are ignored.
        replace_on: property paths of which a change replaces the resource, because the program says so.
    """

    urn: str
    type: str
    name: str
    parent: str = ""
    custom: bool = True
    inputs: Mapping[str, Any] = field(default_factory=dict)
    object: str = ""
    aliases: tuple[str, ...] = ()
    protect: bool = False
    retain: bool = False
    ignore: tuple[str, ...] = ()
    replace_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """One property that differs.

    Attributes:
        path: as Pulumi writes it, save that an item of a list is named by what tells it from the others:
            `spec.template.spec.containers[name=server].image`.
        kind: add, update or delete.
        before: the value so far, None where it is added.
        after: the new value, None where it is removed.
        churn: whether it only follows from other changes, as checksums in annotations do.
        lines: of long texts, the lines that differ as in a unified diff; empty for everything else.
    """

    path: str
    kind: Kind
    before: Any = None
    after: Any = None
    churn: bool = False
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reason:
    """Why a resource is, or may be, replaced: the property, and who says so."""

    path: str
    text: str
    certain: bool = True


@dataclass(frozen=True)
class Entry:
    """A resource of a stack, and what happens to it.

    Attributes:
        urn: its URN; of one that is deleted, the one it had.
        op: create, update, replace, delete, retain or same.
        changes: the properties that differ; of one that is created, its inputs.
        reasons: why it is, or may be, replaced.
        notes: what else a reviewer should know, for example what is lost with it; code in it in backticks.
        twin: of something gone, the URN of something new that looks like it under another name, and reverse.
        policies: names of the policies that it violates after the change.
    """

    urn: str
    type: str
    name: str
    op: str
    parent: str = ""
    custom: bool = True
    object: str = ""
    changes: tuple[Change, ...] = ()
    reasons: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()
    twin: str = ""
    policies: tuple[str, ...] = ()

    @property
    def is_change(self) -> bool:
        """Whether anything happens to an object."""
        return self.custom and self.op in OPS

    @property
    def only_churn(self) -> bool:
        """Whether it changes only because something else does."""
        return self.op == "update" and bool(self.changes) and all(change.churn for change in self.changes)


@dataclass(frozen=True)
class Finding:
    """What a policy found, in one stack.

    `status` is violated, remediated, unevaluated or broken; `since` is new, already (it was so before the
    change), closed, or unknown where nothing was compared.
    """

    pack: str
    policy: str
    level: str
    status: str
    urn: str
    message: str
    since: str

    @property
    def is_open(self) -> bool:
        """Whether it is a question that only another place can answer, as our pack names such policies."""
        return self.policy.startswith("open-")

    @property
    def fails(self) -> bool:
        """Whether a stack with it may not ship."""
        return self.since != "closed" and (
            self.status == "broken" or (self.status == "violated" and self.level == "mandatory")
        )


@dataclass(frozen=True)
class Pack:
    """A policy pack that was asked: what it holds, and why it did not run, if it did not."""

    name: str
    version: str
    policies: tuple[str, ...]
    error: str = ""


@dataclass(frozen=True)
class StackReview:
    """What the change does to one stack.

    Attributes:
        stack: its name.
        state: what it is; `not compared` where there is nothing to compare with, `failed` where the program
            fails now.
        note: why, where the state alone does not say it.
        entries: every resource, in the order of the tree; those that are gone come after their siblings.
        outputs: what differs in the outputs of the stack.
        errors: why the program fails, or failed before.
        warnings: what the program warns of now and did not before.
        packs: the policy packs that were asked.
        findings: what policies found.
        open: open findings of the program: (new or already or closed, text).
        cost: what it costs and by how much that differs, in words; "" where it rents nothing or does not say.
    """

    stack: str
    state: State
    note: str = ""
    entries: tuple[Entry, ...] = ()
    outputs: tuple[Change, ...] = ()
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    packs: tuple[Pack, ...] = ()
    findings: tuple[Finding, ...] = ()
    open: tuple[tuple[str, str], ...] = ()
    cost: str = ""

    @property
    def changes(self) -> tuple[Entry, ...]:
        """The resources to which something happens."""
        return tuple(entry for entry in self.entries if entry.is_change)

    @property
    def counts(self) -> dict[str, int]:
        """How many resources each operation concerns."""
        counts = dict.fromkeys(OPS, 0)
        for entry in self.changes:
            counts[entry.op] += 1
        return counts

    @property
    def is_ok(self) -> bool:
        """Whether it may ship as far as this review knows: planned, compared, and no policy stops it."""
        broken = any(pack.error for pack in self.packs)
        return self.state not in {"failed", "not compared"} and not broken and not self.stopping

    @property
    def stopping(self) -> tuple[Finding, ...]:
        """The policies' findings with which it may not ship."""
        return tuple(found for found in self.findings if found.fails)


@dataclass(frozen=True)
class ExceptionChange:
    """An exception from a policy that is new (`add`) or gone (`delete`)."""

    kind: Kind
    rule: str
    stack: str
    object: str
    reason: str
    owner: str
    expires: str


@dataclass(frozen=True)
class Review:
    """A change, for all stacks.

    Attributes:
        before: how people name what it is compared with.
        after: how people name what is planned.
        stacks: by name.
        exceptions: exceptions from policies that come or go.
        notes: what holds for all stacks.
    """

    before: str
    after: str
    stacks: tuple[StackReview, ...]
    exceptions: tuple[ExceptionChange, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def cost(self) -> str:
        """What the stacks cost, and by how much that differs, in words."""
        return "; ".join(f"{stack.stack} {stack.cost}" for stack in self.stacks if stack.cost) or NO_COST

    @property
    def is_ok(self) -> bool:
        """Whether every stack is."""
        return all(stack.is_ok for stack in self.stacks)

    @property
    def counts(self) -> dict[str, int]:
        """How many resources each operation concerns, in all stacks."""
        counts = dict.fromkeys(OPS, 0)
        for stack in self.stacks:
            for op, count in stack.counts.items():
                counts[op] += count
        return counts

"""One run of the pack: what it has seen so far, and how rules are applied to it."""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi_policy import PolicyResource, ReportViolation, ResourceValidationArgs, StackValidationArgs
from pulumi_policy.proxy import UnknownValueError

from berth_policy import settings
from berth_policy.environment import EnvironmentSettings, environment_of
from berth_policy.exceptions import FILE, Exemption
from berth_policy.message import message
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, Stack, survey, title_of

STACK_TYPE = "pulumi:pulumi:Stack"


def today() -> dt.date:
    """The day that exceptions are measured by, UTC."""
    return dt.datetime.now(tz=dt.UTC).date()


@dataclass
class Run:
    """What one process of the pack knows.

    Attributes:
        exemptions: exceptions of all stacks.
        rules: names of all rules.
        today: tells the day.
        seen: by URN, each resource as its inputs were, before defaults of a cluster or cloud were added.
        used: exceptions that something matched.
        open: rule and URN of what could not be judged; URN "" is the whole stack.
        configured: the environment that the pack's configuration names, or "".
        given: the configuration of each rule that has one.
    """

    exemptions: tuple[Exemption, ...] = ()
    rules: frozenset[str] = frozenset()
    today: Callable[[], dt.date] = today
    seen: dict[str, Resource] = field(default_factory=dict)
    used: set[Exemption] = field(default_factory=set)
    open: set[tuple[str, str]] = field(default_factory=set)
    configured: str = ""
    given: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _stack: Stack | None = None

    def resource(self, rule: Rule, args: ResourceValidationArgs, report: ReportViolation) -> None:
        """Check one resource, before it is made."""
        subject = self._see(args)
        if rule.check is None or not rule.looks_at(subject.token):
            return
        subject.configured = settings.read(rule.name, rule.settings, args.get_config())
        try:
            for finding in rule.check(subject):
                self._report(rule, finding, subject, report)
        except UnknownValueError:
            self.open.add((rule.name, subject.urn))
            raise

    def note(self, args: ResourceValidationArgs, _report: ReportViolation) -> None:
        """Remember a resource's inputs; finds nothing."""
        self._see(args)

    def stack(self, rule: Rule, level: str, args: StackValidationArgs, report: ReportViolation) -> None:
        """Check the stack by a rule, if that is its level in the stack's environment."""
        given = args.get_config()
        if given:
            self.given[rule.name] = given
        # A rule's advice is configured with the rule.
        config = settings.read(rule.name, rule.settings, given or self.given.get(rule.name, {}))
        if isinstance(config, EnvironmentSettings):
            self.configured = config.environment
        stack = self._view(args)
        if rule.levels[stack.environment] != level:
            return
        stack.configured = config
        try:
            for finding in self._findings(rule, stack):
                self._report(rule, finding, None, report)
        except UnknownValueError:
            self.open.add((rule.name, ""))
            raise

    def exceptions(self, args: StackValidationArgs, report: ReportViolation) -> None:
        """Refuse exceptions that have expired, and those that nothing matches."""
        urns = {one.urn for one in self._view(args).resources}
        for one in self.exemptions:
            if one.stack != pulumi.get_stack():
                continue
            if said := self._wrong(one):
                text = f"{FILE}: exception of {one.rule} for {one.object}, owner {one.owner}: {said}"
                report(text, one.object if one.object in urns else None)

    def _wrong(self, one: Exemption) -> str:
        if one.rule not in self.rules:
            return "there is no such rule. Fix: mend its name or remove the exception."
        if one.expired(self.today()):
            return f"expired on {one.expires}. Fix: mend the object, or have the owner renew it."
        unsure = {(one.rule, one.object), (one.rule, "")} & self.open
        if one not in self.used and not unsure:
            return "matches nothing. Fix: remove it; the object follows the rule or is not there."
        return ""

    def _see(self, args: ResourceValidationArgs) -> Resource:
        known = self.seen.get(args.urn)
        if known is None or known.props is not args.props:
            known = Resource(
                args.resource_type,
                args.urn,
                args.name,
                args.props,
                parent=args.opts.parent or "",
                protect=args.opts.protect,
                provider=args.provider.urn if args.provider else "",
            )
            self.seen[args.urn] = known
        return known

    def _view(self, args: StackValidationArgs) -> Stack:
        """The stack by its inputs, as far as they were seen; by its outputs where they were not."""
        # Once the first policy of a request has seen the resources, none come with the others; see once.py.
        if args.resources or self._stack is None:
            resources = [self._known(one) for one in args.resources]
            if self._stack is None or [one.urn for one in self._stack.resources] != [
                one.urn for one in resources
            ]:
                self._stack = Stack(resources, environment_of(resources, self.configured))
        return self._stack

    def _known(self, one: PolicyResource) -> Resource:
        parent = one.parent.urn if one.parent else ""
        known = self.seen.get(one.urn) or Resource(
            one.resource_type, one.urn, one.name, one.props, parent=parent
        )
        known.provider = one.provider.urn if one.provider else known.provider
        known.dependencies = tuple(other.urn for other in one.dependencies)
        known.references = {
            key: tuple(other.urn for other in others) for key, others in one.property_dependencies.items()
        }
        return known

    def _findings(self, rule: Rule, stack: Stack) -> Iterator[Finding]:
        if rule.check_stack is not None:
            parts = stack.clusters if rule.by_cluster else [stack]
            for part in parts:
                part.configured = stack.configured
            yield from _once(survey(parts, lambda part: _of_cluster(rule, part)))
        elif rule.check is not None:
            yield from _each(rule.check, stack, rule)

    def _report(
        self,
        rule: Rule,
        finding: Finding,
        subject: Resource | None,
        report: Callable[[str, str | None], object],
    ) -> None:
        about = finding.resource or subject
        urn = about.urn if about else _stack_urn()
        for one in self.exemptions:
            if (one.rule, one.stack, one.object) == (rule.name, pulumi.get_stack(), urn):
                self.used.add(one)
                if not one.expired(self.today()):
                    return
        title = about.title if about else f"stack {pulumi.get_stack()}"
        report(message(rule, finding, title), about.urn if about else None)


def _once(findings: Iterable[Finding]) -> Iterator[Finding]:
    """What is found of the whole stack, once for all of its clusters."""
    seen: set[tuple[str, str]] = set()
    for one in findings:
        said = (one.found, one.wanted)
        if one.resource is not None or said not in seen:
            yield one
        seen.add(said)


def _of_cluster(rule: Rule, stack: Stack) -> Iterator[Finding]:
    stack.pending = None
    if rule.check_stack is not None:
        yield from rule.check_stack(stack)
    if stack.pending is not None:
        raise stack.pending


def _each(check: Callable[[Resource], Iterable[Finding]], stack: Stack, rule: Rule) -> Iterator[Finding]:
    def look(one: Resource) -> Iterator[Finding]:
        one.configured = stack.configured
        for finding in check(one):
            yield Finding(finding.found, finding.wanted, finding.resource or one)

    return survey((one for one in stack.resources if rule.looks_at(one.token)), look, title_of)


def _stack_urn() -> str:
    project, stack = pulumi.get_project(), pulumi.get_stack()
    return f"urn:pulumi:{stack}::{project}::{STACK_TYPE}::{project}-{stack}"

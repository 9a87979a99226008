"""Hands resources to Pulumi's own policy runtime, and reads what it answers."""

import contextlib
import contextvars
import functools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from google.protobuf import struct_pb2
from pulumi.runtime.proto import analyzer_pb2
from pulumi_policy import EnforcementLevel, Policy
from pulumi_policy import policy as runtime

from berth_policy.testing.resources import PROJECT, STACK, Given, flat

Status = Literal["violated", "unevaluated", "broken", "not-applicable"]
_LEVELS = {
    analyzer_pb2.ADVISORY: "advisory",
    analyzer_pb2.MANDATORY: "mandatory",
    analyzer_pb2.REMEDIATE: "remediate",
    analyzer_pb2.DISABLED: "disabled",
}


@dataclass(frozen=True, order=True)
class Result:
    """One thing that a policy said, or why it could not judge.

    Attributes:
        policy: its name.
        status: "violated"; "unevaluated" where it read a value that a preview does not know; "broken" where
            it raised; "not-applicable" where it said so itself. Only the last one is no reason for concern.
        level: advisory or mandatory.
        urn: the resource, or "" for the stack.
        message: what it says.
    """

    policy: str
    status: Status
    level: str
    urn: str
    message: str


class Results(tuple[Result, ...]):
    """What all policies said, in their order."""

    __slots__ = ()

    @property
    def tripped(self) -> frozenset[str]:
        """Names of the policies that were violated, at any level."""
        return frozenset(one.policy for one in self if one.status == "violated")

    @property
    def unevaluated(self) -> frozenset[str]:
        """Names of the policies that could not judge, since a value is unknown."""
        return frozenset(one.policy for one in self if one.status == "unevaluated")

    @property
    def broken(self) -> frozenset[str]:
        """Names of the policies that raised."""
        return frozenset(one.policy for one in self if one.status == "broken")

    def of(self, urn: str) -> "Results":
        """Those about one resource."""
        return Results(one for one in self if one.urn == urn)


def check(
    policies: Sequence[Policy],
    resources: Sequence[Given],
    *,
    stack: str = STACK,
    project: str = PROJECT,
    dry_run: bool = True,
    config: Mapping[str, Mapping[str, Any]] | None = None,
    program_config: Mapping[str, str] | None = None,
) -> Results:
    """Run policies over resources as an engine does: each resource as it is registered, then all of them.

    Args:
        policies: what a `PolicyPack` takes; `load_pack` reads them from a pack's folder.
        resources: in the order of the program.
        stack: the stack's name.
        project: the project's name.
        dry_run: whether it is a preview.
        config: of the pack, by policy: its settings, and `enforcementLevel` where it is to differ.
        program_config: the stack's configuration, such as {"aws:region": "eu-central-1"}.

    Returns:
        Everything that is not a pass. Where a policy raises, no other policy judges that resource, as in a
        deployment, where this ends the run.
    """
    run = functools.partial(_run, policies, resources, stack, project, config or {})
    with _told(stack, project, dry_run, program_config or {}):
        # What the runtime remembers of project and stack ends with this context.
        return contextvars.copy_context().run(run)


def _run(
    policies: Sequence[Policy],
    resources: Sequence[Given],
    stack: str,
    project: str,
    config: Mapping[str, Mapping[str, Any]],
) -> Results:
    held = policies if isinstance(policies, list) else [*policies]
    servicer: Any = runtime._PolicyAnalyzerServicer(  # noqa: SLF001 - the runtime itself, without a process
        "tested", "0.0.1", held, EnforcementLevel.ADVISORY
    )
    servicer.Configure(_configuration(policies, config), None)
    found: list[Result] = []
    for one in resources:
        found += _answered(servicer.Analyze, _request(one, stack, project), one.urn_in(stack, project))
    everything = analyzer_pb2.AnalyzeStackRequest(
        resources=[_state(one, stack, project) for one in resources]
    )
    found += _answered(servicer.AnalyzeStack, everything, "")
    return Results(found)


def assert_trips(results: Results, *policies: str) -> None:
    """Assert that exactly the given policies were violated, and that all others could judge.

    Raises:
        AssertionError: with what each policy said that should not have, and which said nothing.
    """
    said = [f"  {one.policy} ({one.status}) {one.urn}: {one.message}" for one in results]
    spoken = {one.policy for one in results if one.status != "not-applicable"}
    lines = "\n".join(said)
    assert not results.broken, f"policies raised:\n{lines}"  # noqa: S101 - an assertion is its purpose
    silent = sorted(set(policies) - results.tripped)
    assert not silent, f"not violated: {', '.join(silent)}; said:\n{lines}"  # noqa: S101
    further = sorted(spoken - set(policies))
    assert not further, f"beyond those expected: {', '.join(further)}; said:\n{lines}"  # noqa: S101


def _struct(values: Mapping[str, Any]) -> struct_pb2.Struct:
    made = struct_pb2.Struct()
    made.update(flat(values))
    return made


def _request(one: Given, stack: str, project: str) -> analyzer_pb2.AnalyzeRequest:
    request = analyzer_pb2.AnalyzeRequest(
        type=one.type,
        urn=one.urn_in(stack, project),
        name=one.name,
        properties=_struct(one.inputs),
        options=analyzer_pb2.AnalyzerResourceOptions(protect=one.protect, parent=one.parent),
    )
    if one.provider:
        request.provider.CopyFrom(_provider(one.provider, stack, project))
    return request


def _state(one: Given, stack: str, project: str) -> analyzer_pb2.AnalyzerResource:
    references = {
        key: analyzer_pb2.AnalyzerPropertyDependencies(urns=list(urns))
        for key, urns in one.references.items()
    }
    state = analyzer_pb2.AnalyzerResource(
        type=one.type,
        urn=one.urn_in(stack, project),
        name=one.name,
        properties=_struct(one.inputs if one.outputs is None else one.outputs),
        options=analyzer_pb2.AnalyzerResourceOptions(protect=one.protect, parent=one.parent),
        parent=one.parent,
        dependencies=list(one.dependencies),
        propertyDependencies=references,
    )
    if one.provider:
        state.provider.CopyFrom(_provider(one.provider, stack, project))
    return state


def _provider(one: Given, stack: str, project: str) -> analyzer_pb2.AnalyzerProviderResource:
    return analyzer_pb2.AnalyzerProviderResource(
        type=one.type, urn=one.urn_in(stack, project), name=one.name, properties=_struct(one.inputs)
    )


def _configuration(
    policies: Sequence[Policy], config: Mapping[str, Mapping[str, Any]]
) -> analyzer_pb2.ConfigureAnalyzerRequest:
    """As the CLI makes it: each policy's level, with what the configuration says laid over it."""
    request = analyzer_pb2.ConfigureAnalyzerRequest()
    known = {one.name: one for one in policies}
    if odd := sorted(set(config) - set(known)):
        raise ValueError(f"config names no policy of these: {', '.join(odd)}; known: {', '.join(known)}")
    for name, policy in known.items():
        settings = dict(config.get(name, {}))
        default = policy.enforcement_level.value if policy.enforcement_level else "advisory"
        level = str(settings.pop("enforcementLevel", default))
        entry = request.policyConfig[name]
        entry.enforcementLevel = analyzer_pb2.EnforcementLevel.Value(level.upper())
        entry.properties.update(settings)
    return request


def _answered(call: Any, request: Any, urn: str) -> Iterator[Result]:
    try:
        answer = call(request, None)
    except Exception as error:  # noqa: BLE001 - whatever a policy raises is what is to be told
        yield Result("", "broken", "mandatory", urn, f"{type(error).__name__}: {error}")
        return
    for one in answer.diagnostics:
        unsure = one.message.startswith("can't run policy ") and not one.urn
        status: Status = "unevaluated" if unsure else "violated"
        yield Result(one.policyName, status, _LEVELS[one.enforcementLevel], one.urn or urn, one.message)
    for one in answer.not_applicable:
        yield Result(one.policy_name, "not-applicable", "advisory", urn, one.reason)


@contextlib.contextmanager
def _told(stack: str, project: str, dry_run: bool, config: Mapping[str, str]) -> Iterator[None]:
    """What a process of the pack is told by its environment."""
    told = {
        "PULUMI_PROJECT": project,
        "PULUMI_STACK": stack,
        "PULUMI_DRY_RUN": "true" if dry_run else "false",
        "PULUMI_ORGANIZATION": "organization",
        "PULUMI_CONFIG": json.dumps(dict(config)),
    }
    before = {key: os.environ.get(key) for key in told}
    os.environ.update(told)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value

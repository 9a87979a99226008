"""An update of node agents goes a few nodes at a time."""

from collections.abc import Iterator

from berth_policy.checks import all_pods, is_agent
from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.reading import said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Stack, at, mapping, survey
from berth_policy.units import number

MOST_NODES, MOST_PERCENT = 3, 10


def check(stack: Stack) -> Iterator[Finding]:
    """Look at how each agent is updated."""
    yield from survey([pod for pod in all_pods(stack) if is_agent(stack, pod)], _look)


def _look(pod: Pod) -> Iterator[Finding]:
    strategy = mapping(pod.object.spec.get("updateStrategy"))
    path, resource = f"{pod.object.path}spec.updateStrategy", pod.object.resource
    kind = strategy.get("type")
    if kind not in (None, "RollingUpdate"):
        yield Finding(f"{path}.type is {kind}", "RollingUpdate: else nodes keep what was there", resource)
        return
    gone = at(strategy, "rollingUpdate", "maxUnavailable")
    share = str(gone).endswith("%")
    most = MOST_PERCENT if share else MOST_NODES
    if gone is not None and number(str(gone).removesuffix("%"), 0) > most:
        found = f"{path}.rollingUpdate.maxUnavailable is {said(gone)}"
        yield Finding(found, f"at most {MOST_NODES} nodes or {MOST_PERCENT}%", resource)


RULE = Rule(
    name="agents-rollout",
    group="workloads",
    title="An update of a node agent goes a few nodes at a time, by itself.",
    why="Where many nodes lose their device plugin or exporter at once, a broken version takes all of them.",
    fix=f"Use RollingUpdate with maxUnavailable of at most {MOST_NODES} nodes or {MOST_PERCENT}%.",
    types=KUBERNETES,
    check_stack=check,
)

"""GKE writes logs and metrics."""

from collections.abc import Iterator, Sequence

from berth_policy.google._nodes import CLUSTER
from berth_policy.reading import has
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at, sequence

_LOGS = ("SYSTEM_COMPONENTS", "WORKLOADS", "APISERVER", "CONTROLLER_MANAGER", "SCHEDULER")
_METRICS = ("SYSTEM_COMPONENTS",)


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the components of both, and at the switches of older clusters."""
    yield from _components(resource, "loggingConfig", _LOGS)
    yield from _components(resource, "monitoringConfig", _METRICS)
    for key in ("loggingService", "monitoringService"):
        if resource.props.get(key) == "none":
            yield Finding(f"{key} is 'none'", "nothing: loggingConfig and monitoringConfig decide")


def _components(resource: Resource, key: str, wanted: Sequence[str]) -> Iterator[Finding]:
    if not has(resource.props, key):
        yield Finding(f"{key} is absent", f"enableComponents with {', '.join(wanted)}")
        return
    given = [*sequence(at(resource.props, key, "enableComponents"))]
    if missing := [one for one in wanted if one not in given]:
        yield Finding(f"{key}.enableComponents lacks {', '.join(missing)}", ", ".join(wanted))


RULE = Rule(
    name="gke-logging",
    group="google",
    title="A GKE cluster writes logs of its system, workloads and control plane, and metrics of its system.",
    why="Nobody can say afterwards who did what, or see that nodes fail.",
    fix="Name the components in loggingConfig and monitoringConfig.",
    types=(CLUSTER,),
    answers=("CIS GKE 5.7.1", "CKV_GCP_1", "CKV_GCP_8"),
    check=check,
)

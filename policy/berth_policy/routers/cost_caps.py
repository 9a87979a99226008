"""Who divides load among sites that cost money knows where to stop."""

from collections.abc import Iterator

from berth_policy.checks import all_pods
from berth_policy.reading import said
from berth_policy.routers._documents import HYBRID, SITE, Document, documents, items, variables
from berth_policy.rule import Finding, Rule
from berth_policy.scaling import scalers
from berth_policy.subject import Stack, mapping, survey
from berth_policy.units import number

_MOST = {"HorizontalPodAutoscaler": "maxReplicas", "ScaledObject": "maxReplicaCount"}


def check(stack: Stack) -> Iterator[Finding]:
    """Look at the cap of each controller, and at the replicas that it reckons with."""
    yield from survey(documents(stack, HYBRID), _cap)
    yield from survey(documents(stack, HYBRID), lambda one: _replicas(stack, one))


def _cap(hybrid: Document) -> Iterator[Finding]:
    policy = mapping(hybrid.body.get("policy"))
    cap = policy.get("costCapPerHour")
    free = all(number(site.get("costPerReplicaHour"), 1) == 0 for _, site in items(hybrid.body, "sites"))
    if "costCapPerHour" in policy and cap is None and free:
        return
    if not isinstance(cap, int | float) or isinstance(cap, bool):
        found = f"{hybrid.path}: policy.costCapPerHour is {said(cap)}, so nothing holds its sites' cost"
        yield Finding(found, "US dollars an hour", hybrid.object.resource)


def _replicas(stack: Stack, hybrid: Document) -> Iterator[Finding]:
    model = str(hybrid.body.get("model"))
    for place, site in items(hybrid.body, "sites"):
        reckoned = number(site.get("mostReplicas"), 0)
        for most, name in _most_at(stack, str(site.get("name")), model):
            if most > reckoned:
                found = (
                    f"{hybrid.path}: {place}.mostReplicas is {reckoned:g}, and {name} makes up to {most:g}"
                )
                yield Finding(found, "the most that the autoscaler there makes", hybrid.object.resource)


def _most_at(stack: Stack, site: str, model: str) -> Iterator[tuple[float, str]]:
    """The most replicas of a model at a site, with the autoscaler that says so: where its reporter is."""
    for document in documents(stack, SITE):
        service = mapping(mapping(document.body.get("models")).get(model)).get("service")
        where = (document.object.resource.provider, document.object.namespace)
        if not any(
            (pod.object.resource.provider, pod.namespace) == where
            and mapping(variables(one.body).get("BERTH_SITE")).get("value") == site
            for pod in all_pods(stack)
            for one in pod.containers("containers")
        ):
            continue
        for scaler in scalers(stack):
            target = mapping(scaler.spec.get("scaleTargetRef")).get("name")
            if (scaler.resource.provider, scaler.namespace) == where and target == service:
                yield number(scaler.spec.get(_MOST[scaler.kind]), 1), f"{scaler.kind} {scaler.name}"


RULE = Rule(
    name="routers-cost-caps",
    group="routers",
    title="Who divides load among sites has a cap on their cost, and reckons with all replicas.",
    why="Without a cap every queue makes replicas in a cloud; one that is reckoned short is passed unseen.",
    fix="Set costCapPerHour, and mostReplicas of each site to the most of its autoscaler.",
    # Sites are in several clusters.
    types=("kubernetes:core/", "kubernetes:autoscaling/", "kubernetes:keda.sh/", "berth:stacks:"),
    check_stack=check,
)

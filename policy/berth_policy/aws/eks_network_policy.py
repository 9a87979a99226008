"""EKS enforces network policies."""

import json
from collections.abc import Iterator

from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, UnknownValueError

from berth_policy.reading import has, on
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, Stack, at, mapping, survey


def check(stack: Stack) -> Iterator[Finding]:
    """Look for the network plugin of each cluster, and what it is told."""
    plugins = [one for one in stack.of("aws:eks/addon:") if one.props.get("addonName") == "vpc-cni"]
    yield from survey(plugins, _plugin)
    yield from survey(stack.of("aws:eks/cluster:"), lambda cluster: _cluster(cluster, bool(plugins), stack))


def _plugin(plugin: Resource) -> Iterator[Finding]:
    text = plugin.props.get("configurationValues")
    if isinstance(text, str) and UNKNOWN_STRING_VALUE in text:
        raise UnknownValueError(UNKNOWN_STRING_VALUE, ["configurationValues"])
    try:
        told = json.loads(text) if isinstance(text, str) else {}
    except ValueError:
        told = {}
    if not on(mapping(told).get("enableNetworkPolicy")):
        yield Finding(
            "configurationValues does not set enableNetworkPolicy", '{"enableNetworkPolicy": "true"}', plugin
        )


def _cluster(cluster: Resource, has_plugin: bool, stack: Stack) -> Iterator[Finding]:
    if on(at(cluster.props, "computeConfig", "enabled")):
        switched = any(
            at(one.props, "metadata", "name") == "amazon-vpc-cni"
            and on(at(one.props, "data", "enable-network-policy-controller"))
            for one in stack.of("kubernetes:core/v1:ConfigMap")
            if has(one.props, "metadata", "name")
        )
        if not switched:
            yield Finding(
                "no ConfigMap amazon-vpc-cni sets enable-network-policy-controller", '"true"', cluster
            )
    elif not has_plugin:
        yield Finding(
            "no add-on vpc-cni is declared, so nothing is enforced", "one, told to enforce", cluster
        )


RULE = Rule(
    name="eks-network-policy",
    group="aws",
    title="An EKS cluster enforces network policies.",
    why="Policies are only words until the network plugin is told to enforce them.",
    fix='Give the add-on vpc-cni configurationValues {"enableNetworkPolicy": "true"}; with Auto Mode, '
    "declare the ConfigMap amazon-vpc-cni.",
    types=("aws:eks/",),
    answers=("CIS EKS 5.4.4",),
    check_stack=check,
)

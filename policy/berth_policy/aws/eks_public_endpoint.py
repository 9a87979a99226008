"""EKS' API server is not open to the internet."""

from collections.abc import Iterator

from berth_policy.reading import anywhere, off
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at, sequence, survey


def check(resource: Resource) -> Iterator[Finding]:
    """Look at who reaches the public endpoint, where there is one; there is by default, for everybody."""
    if off(at(resource.props, "vpcConfig", "endpointPublicAccess")):
        return
    wanted = "vpcConfig.endpointPublicAccess false, or the few addresses that need it"
    cidrs = sequence(at(resource.props, "vpcConfig", "publicAccessCidrs"))
    if not cidrs:
        yield Finding("the public endpoint is on and publicAccessCidrs is absent, so 0.0.0.0/0", wanted)
    yield from survey(
        range(len(cidrs)),
        lambda number: (
            [Finding(f"vpcConfig.publicAccessCidrs[{number}] is {cidrs[number]}", wanted)]
            if anywhere(cidrs[number])
            else []
        ),
    )


RULE = Rule(
    name="eks-public-endpoint",
    group="aws",
    title="The API server of an EKS cluster is not open to the internet.",
    why="One leaked credential, or one hole in the API server, is enough for anybody anywhere.",
    fix="Set vpcConfig.endpointPublicAccess to false, or publicAccessCidrs to your own addresses.",
    types=("aws:eks/cluster:",),
    answers=("CIS EKS 5.4.1", "CKV_AWS_38"),
    check=check,
)

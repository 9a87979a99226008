"""A project's number, and the service agents whose names are made of it."""

import pulumi
from pulumi_gcp import organizations

from berth_components.arguments import combine


def number_of(
    project: pulumi.Input[str], given: pulumi.Input[str] | None, parent: pulumi.Resource
) -> pulumi.Input[str]:
    """The project's number: the given one, else what Google says (resourcemanager.projects.get)."""
    if given is not None:
        return given
    found = organizations.get_project_output(
        project_id=project, opts=pulumi.InvokeOutputOptions(parent=parent)
    )
    number: pulumi.Output[str] = found.apply(lambda known: known.number)
    return number


def gke_agent(number: pulumi.Input[str]) -> pulumi.Input[str]:
    """The member that is Kubernetes Engine's service agent: it encrypts a cluster's database."""

    def member(number: str) -> str:
        return f"serviceAccount:service-{number}@container-engine-robot.iam.gserviceaccount.com"

    return combine(member, number)


def compute_agent(number: pulumi.Input[str]) -> pulumi.Input[str]:
    """The member that is Compute Engine's service agent: it encrypts boot disks."""

    def member(number: str) -> str:
        return f"serviceAccount:service-{number}@compute-system.iam.gserviceaccount.com"

    return combine(member, number)

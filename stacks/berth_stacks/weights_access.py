"""Identities in the cloud by which a model server's pods read their weights, and nothing else."""

import pulumi

from berth_stacks import build
from berth_stacks.findings import NO_PROJECT, NO_PROJECT_NUMBER
from berth_stacks.sites import Place

_PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}


def let_in(at: build.Placed, namespace: pulumi.Input[str], place: Place) -> None:
    """Let the service account of a model server read its weights, where the settings ask for it.

    Its pods may be there first: their fetcher is started again until the cloud knows them.
    """
    weights = at.model.weights
    if weights is None or not weights.identity or weights.url is None:
        return
    bucket, _, folder = weights.url.partition("://")[2].partition("/")
    name = f"{at.name}-weights"
    if at.site.eks is not None:
        from berth_components import aws  # noqa: PLC0415 - 121 MB that other grounds do not need

        if place.cluster is None:
            raise AssertionError(at.site_key)
        region = at.site.eks.region
        partition = next((word for start, word in _PARTITIONS.items() if region.startswith(start)), "aws")
        where = "/".join(part for part in (bucket, folder.strip("/"), "*") if part)
        aws.EksWorkloadIdentity(
            name,
            {
                "cluster_name": place.cluster,
                "namespace": namespace,
                "service_account": at.model_key,
                "statements": [{"actions": ["s3:GetObject"], "resources": [f"arn:{partition}:s3:::{where}"]}],
            },
            place.options,
        )
    elif at.site.gke is not None:
        from berth_components import gcp  # noqa: PLC0415 - as above

        project = at.site.gke.project
        number = at.site.gke.project_number if project else NO_PROJECT_NUMBER
        args: gcp.GkeWorkloadIdentityArgs = {
            "project": project or NO_PROJECT,
            "namespace": namespace,
            "service_account": at.model_key,
            "buckets": [{"bucket": bucket}],
        }
        if number is not None:
            args["project_number"] = number
        after = pulumi.ResourceOptions(depends_on=[*place.before])
        gcp.GkeWorkloadIdentity(name, args, pulumi.ResourceOptions.merge(place.options, after))

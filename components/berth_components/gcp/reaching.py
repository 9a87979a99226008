"""How a cluster is reached: its kubeconfig, of a cluster that is made here or of one that is looked up."""

from typing import cast

import pulumi
from pulumi_gcp import container
from pulumi_gcp.container import outputs

from berth_components.arguments import combine
from berth_components.gcp.cluster_settings import Access
from berth_components.gcp.kubeconfig import kubeconfig


def kubeconfig_of_new(
    name: pulumi.Input[str], cluster: container.Cluster, access: Access
) -> pulumi.Input[str]:
    """The kubeconfig of a cluster that is made; unknown in a preview before it is there."""

    def write(name: str, address: str, dns: str, certificate: str) -> str | pulumi.Output[str]:
        if access.dns_endpoint:
            return _written(name, dns)
        return _written(name, address if certificate else "", certificate)

    # The address is among the inputs although a DNS endpoint takes its place: it is unknown until there is a
    # cluster, whereas what lies inside a property that the program wrote is missing then.
    return combine(
        write,
        name,
        cluster.endpoint,
        cluster.control_plane_endpoints_config.apply(_dns_endpoint),
        cluster.master_auth.apply(_certificate),
    )


def _dns_endpoint(known: outputs.ClusterControlPlaneEndpointsConfig | None) -> str:
    dns = known.dns_endpoint_config if known else None
    return (dns.endpoint if dns else None) or ""


def _certificate(known: outputs.ClusterMasterAuth | None) -> str:
    return (known.cluster_ca_certificate if known else None) or ""


def check_existing(known: container.GetClusterResult, component: pulumi.Resource) -> None:
    """Refuse a cluster that cannot take our pools, and warn of one that ignores network policies.

    Raises:
        pulumi.RunError: it is an Autopilot cluster, or has no Workload Identity.
    """
    if known.enable_autopilot:
        raise pulumi.RunError(
            f"the cluster {known.name} is an Autopilot cluster, which takes no pools of anybody's; name a "
            "Standard one, or leave 'existing' out and have one made"
        )
    if not any(config.workload_pool for config in known.workload_identity_configs):
        raise pulumi.RunError(
            f"the cluster {known.name} has no Workload Identity, so its pods would act as their nodes; give "
            f"it one: gcloud container clusters update {known.name} --location {known.location} "
            f"--workload-pool {known.project}.svc.id.goog"
        )
    enforced = any(one.enabled for one in known.network_policies)
    if known.datapath_provider != "ADVANCED_DATAPATH" and not enforced:
        pulumi.log.warn(
            f"the cluster {known.name} enforces no network policy: it has neither Dataplane V2 nor Calico, "
            "so whoever reaches a pod's address may call it",
            resource=component,
        )


def kubeconfig_of_existing(known: container.GetClusterResult, *, by_dns: bool) -> str | pulumi.Output[str]:
    """The kubeconfig of a cluster that was looked up.

    Raises:
        pulumi.RunError: it is to be reached by its DNS endpoint, which lets nobody in.
    """
    if not by_dns:
        certificates = [auth.cluster_ca_certificate for auth in known.master_auths]
        return _written(known.name or "", known.endpoint, *certificates)
    found = [
        dns
        for endpoints in known.control_plane_endpoints_configs
        for dns in endpoints.dns_endpoint_configs
        if dns.allow_external_traffic
    ]
    if not found:
        raise pulumi.RunError(
            f"nobody is let in by the DNS endpoint of the cluster {known.name}; open it with gcloud's "
            "option --enable-dns-access, or make access.dns_endpoint False, which takes its address"
        )
    return _written(known.name or "", found[0].endpoint)


def _written(name: str, address: str, certificate: str = "") -> str | pulumi.Output[str]:
    if address:
        return kubeconfig(name, address, certificate)
    if pulumi.runtime.is_dry_run():
        # An endpoint that an update will open is missing from the state, not unknown in it.
        return _unknown()
    raise pulumi.RunError(f"Google told no endpoint of the cluster {name}; run the same command again")


def _unknown() -> pulumi.Output[str]:
    return pulumi.Output.from_input(cast("str", pulumi.UNKNOWN))

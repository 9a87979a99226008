"""Nobody gets into GKE by ways that cannot be taken away."""

from collections.abc import Iterator

from berth_policy.google._nodes import CLUSTER
from berth_policy.reading import on
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at

_CERTIFICATE = ("masterAuth", "clientCertificateConfig", "issueClientCertificate")


def check(resource: Resource) -> Iterator[Finding]:
    """Look at ABAC, at client certificates, alpha features and the dashboard."""
    props = resource.props
    if on(props.get("enableLegacyAbac")):
        yield Finding("enableLegacyAbac is true", "false: RBAC decides")
    if on(at(props, *_CERTIFICATE)):
        yield Finding(f"{'.'.join(_CERTIFICATE)} is true", "false: it cannot be revoked")
    if on(props.get("enableKubernetesAlpha")):
        yield Finding("enableKubernetesAlpha is true", "false: such a cluster is deleted after 30 days")
    dashboard = at(props, "addonsConfig", "kubernetesDashboard")
    if dashboard is not None and at(dashboard, "disabled") is False:
        yield Finding("addonsConfig.kubernetesDashboard.disabled is false", "true")


RULE = Rule(
    name="gke-legacy-access",
    group="google",
    title="A GKE cluster has no ABAC, client certificate, alpha features or dashboard.",
    why="Each lets somebody in whom RBAC and IAM do not know, and who cannot be shut out again.",
    fix="Leave them off.",
    types=(CLUSTER,),
    answers=("CIS GKE 5.8.1", "CIS GKE 5.8.3", "CIS GKE 5.10.1", "CIS GKE 5.10.2", "CKV_GCP_7", "CKV_GCP_13"),
    check=check,
)

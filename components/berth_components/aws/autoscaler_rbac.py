"""What Cluster Autoscaler may do in the cluster: read what the scheduler reads, cordon and drain nodes.

After the example of kubernetes/autoscaler (cluster-autoscaler/cloudprovider/aws/examples), without what older
releases needed, and with Roles where one namespace is enough.
"""

from collections.abc import Sequence

import pulumi
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.rbac import v1 as rbac

READ = ("get", "list", "watch")
_READ: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "",
        (
            *("namespaces", "nodes", "persistentvolumeclaims", "persistentvolumes", "pods"),
            *("replicationcontrollers", "services"),
        ),
    ),
    ("apps", ("daemonsets", "replicasets", "statefulsets")),
    ("batch", ("jobs",)),
    ("policy", ("poddisruptionbudgets",)),
    (
        "storage.k8s.io",
        ("csidrivers", "csinodes", "csistoragecapacities", "storageclasses", "volumeattachments"),
    ),
    ("resource.k8s.io", ("deviceclasses", "resourceclaims", "resourceslices")),
)


def declare(
    name: str,
    app: str,
    namespace: pulumi.Input[str],
    labels: dict[str, pulumi.Input[str]],
    opts: pulumi.ResourceOptions,
) -> Sequence[pulumi.Resource]:
    """Declare roles and bindings for the service account of that name."""
    subjects = [rbac.SubjectArgs(kind="ServiceAccount", name=app, namespace=namespace)]
    everywhere = meta.ObjectMetaArgs(name=f"berth-{app}", labels=labels)
    here = meta.ObjectMetaArgs(name=app, namespace=namespace, labels=labels)
    cluster_role = rbac.ClusterRole(
        f"{name}-cluster-role",
        metadata=everywhere,
        rules=[
            *(
                rbac.PolicyRuleArgs(api_groups=[group], resources=[*resources], verbs=[*READ])
                for group, resources in _READ
            ),
            # It taints nodes before it drains them.
            rbac.PolicyRuleArgs(api_groups=[""], resources=["nodes"], verbs=["update"]),
            rbac.PolicyRuleArgs(api_groups=[""], resources=["pods/eviction"], verbs=["create"]),
            rbac.PolicyRuleArgs(api_groups=[""], resources=["pods/status"], verbs=["update"]),
            rbac.PolicyRuleArgs(
                api_groups=["", "events.k8s.io"], resources=["events"], verbs=["create", "patch"]
            ),
        ],
        opts=opts,
    )
    role = rbac.Role(
        f"{name}-role",
        metadata=here,
        rules=[
            # `create` cannot be limited to a name.
            rbac.PolicyRuleArgs(api_groups=["coordination.k8s.io"], resources=["leases"], verbs=["create"]),
            rbac.PolicyRuleArgs(
                api_groups=["coordination.k8s.io"],
                resources=["leases"],
                resource_names=[app],
                verbs=["get", "update"],
            ),
            rbac.PolicyRuleArgs(api_groups=[""], resources=["configmaps"], verbs=["create", *READ[1:]]),
            rbac.PolicyRuleArgs(
                api_groups=[""],
                resources=["configmaps"],
                resource_names=[f"{app}-status"],
                verbs=["get", "update", "delete"],
            ),
        ],
        opts=opts,
    )
    return [
        cluster_role,
        role,
        rbac.ClusterRoleBinding(
            f"{name}-cluster-role-binding",
            metadata=everywhere,
            role_ref=_reference("ClusterRole", f"berth-{app}"),
            subjects=subjects,
            opts=opts,
        ),
        rbac.RoleBinding(
            f"{name}-role-binding",
            metadata=here,
            role_ref=_reference("Role", app),
            subjects=subjects,
            opts=opts,
        ),
    ]


def _reference(kind: str, name: str) -> rbac.RoleRefArgs:
    return rbac.RoleRefArgs(api_group="rbac.authorization.k8s.io", kind=kind, name=name)

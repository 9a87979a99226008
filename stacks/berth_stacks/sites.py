"""What a site is made of before any model: its cluster, its pools, and what makes their accelerators usable.

The clouds' SDKs are large: each is imported where a site is on that cloud, and only then.
"""

import contextlib
import os.path
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pulumi
import pulumi_kubernetes as kubernetes
from berth_components import ExistingCluster, ExistingClusterArgs
from berth_components.device_plugin import DevicePlugin, DevicePluginArgs
from berth_components.existing_cluster import is_contents
from berth_components.node_pools import NodePool, PoolSpec
from berth_components.own_node_pool import OwnNodePool, OwnNodePoolArgs

from berth_stacks import build, pools
from berth_stacks.blame import blame
from berth_stacks.fields import Settings
from berth_stacks.findings import NO_PROJECT, NO_PROJECT_NUMBER, NO_RESERVATION, NOBODY
from berth_stacks.grounds import Pool
from berth_stacks.load import Loaded
from berth_stacks.references import referenced
from berth_stacks.settings import Site

if TYPE_CHECKING:
    from berth_stacks.errors import Path


@dataclass
class Place:
    """A site that models can be put on.

    Attributes:
        options: for everything that is deployed there.
        pools: by name.
        selectors: of pools that another stack makes: the labels of their nodes, as it says.
        storage_classes: by pool, where its machines take no volume of the cluster's default class.
        kubeconfig: how others reach a cluster that this stack makes; None where it makes none.
        cluster: name of a cluster on EKS that this stack makes or joins.
        before: what must be there before a model server, and gone after it.
    """

    options: pulumi.ResourceOptions
    pools: dict[str, PoolSpec] = field(default_factory=dict)
    selectors: Mapping[str, pulumi.Output[Mapping[str, str]]] = field(default_factory=dict)
    storage_classes: dict[str, str] = field(default_factory=dict)
    kubeconfig: pulumi.Output[str] | None = None
    cluster: pulumi.Output[str] | None = None
    before: list[pulumi.Resource] = field(default_factory=list)

    def on(self, pool: str) -> build.OnPool:
        """What puts a pod on one of its pools."""
        spec = self.pools[pool]
        selector = self.selectors.get(pool) or spec.node_selector
        return build.OnPool(selector, further_tolerations([spec]), self.storage_classes.get(pool))

    def after(self, value: str) -> pulumi.Output[str]:
        """A value that is known once all of it is there; what is made of it is gone before all of it goes.

        Children of a component do not come after what the component depends on; they do come after what their
        inputs are made of.
        """
        urns = [one.urn for one in self.before]
        known: pulumi.Output[str] = pulumi.Output.all(value, *urns).apply(lambda parts: str(parts[0]))
        return known


def settle(loaded: Loaded, key: str) -> Place:
    """Declare a site's ground.

    Raises:
        SettingsError: a component refuses one of its settings.
    """
    site = loaded.settings.sites[key]
    settling = {"eks": _eks, "gke": _gke, "cluster": _existing, "sagemaker": _no_cluster}
    return settling[pools.ground_of(site)](loaded, key, site)


def pool_facts(place: Place, site: Site) -> dict[str, dict[str, Any]]:
    """What another stack needs to know of a site's pools."""
    return {
        name: {
            "accelerator": spec.accelerator.key,
            "acceleratorsPerNode": spec.per_node,
            "min": spec.min_nodes,
            "max": spec.max_nodes,
            "capacity": spec.capacity_type,
            "labels": dict(site.pools[name].labels),
            "taints": [_group(taint) for taint in site.pools[name].taints],
            "nodeSelector": dict(spec.node_selector),
            "tolerations": [dict(one) for one in spec.tolerations],
            "resource": spec.resource,
        }
        for name, spec in place.pools.items()
    }


def _no_cluster(loaded: Loaded, key: str, site: Site) -> Place:
    """SageMaker: nothing but a provider."""
    if site.sagemaker is None:
        raise AssertionError(key)
    provider = _aws_provider(loaded, key, site.sagemaker.region, site.sagemaker.allowed_accounts)
    return Place(pulumi.ResourceOptions(provider=provider))


def _existing(loaded: Loaded, key: str, site: Site) -> Place:
    if site.cluster is None:
        raise AssertionError(key)
    if site.cluster.stack is not None:
        found = referenced(loaded, key, site)
        cluster = ExistingCluster(key, {"kubeconfig": found.kubeconfig})
        place = Place(_on(cluster.provider), found.pools, found.selectors)
        _device_plugins(loaded, key, site, place)
        return place
    cluster = ExistingCluster(key, _access(site))
    place = Place(_on(cluster.provider))
    for name, pool in site.pools.items():
        with _pool_blame(loaded, key, name):
            made = OwnNodePool(f"{key}-{name}", cast("OwnNodePoolArgs", _pool_args(pool)), place.options)
        _add(place, name, made)
    _device_plugins(loaded, key, site, place)
    return place


def _access(site: Site) -> ExistingClusterArgs:
    if site.cluster is None or site.cluster.kubeconfig is None:
        raise AssertionError("the rules let a cluster without a kubeconfig pass")
    kubeconfig = site.cluster.kubeconfig
    if not is_contents(kubeconfig):
        # The provider knows no "~".
        kubeconfig = os.path.expanduser(kubeconfig)  # noqa: PTH111 - Path would also rewrite the rest
    access: ExistingClusterArgs = {"kubeconfig": kubeconfig}
    if site.cluster.context:
        access["context"] = site.cluster.context
    return access


def _aws_provider(loaded: Loaded, key: str, region: str, accounts: Sequence[str]) -> pulumi.ProviderResource:
    import pulumi_aws as aws  # noqa: PLC0415 - 121 MB that other grounds do not need

    tags = {"berth.dev/stack": loaded.name, "berth.dev/site": key}
    provider: pulumi.ProviderResource = aws.Provider(
        f"{key}-aws",
        region=region,
        allowed_account_ids=[*accounts] or None,
        default_tags=aws.ProviderDefaultTagsArgs(tags=tags),
    )
    return provider


def _eks(loaded: Loaded, key: str, site: Site) -> Place:
    from berth_components import aws  # noqa: PLC0415 - as above

    if site.eks is None:
        raise AssertionError(key)
    provider = _aws_provider(loaded, key, site.eks.region, site.eks.allowed_accounts)
    args = _group(site.eks, leave_out={"region", "allowed_accounts", "autoscaler"})
    args.setdefault("name", f"{loaded.name}-{key}")
    if not site.eks.existing and not site.eks.admin_arns:
        args["admin_arns"] = [NOBODY]
    path: Path = ("sites", key, "eks")
    with blame(loaded, path):
        cluster = aws.EksCluster(
            key, cast("aws.EksClusterArgs", args), pulumi.ResourceOptions(provider=provider)
        )
    options = pulumi.ResourceOptions(providers={"aws": provider, "kubernetes": cluster.provider})
    place = Place(options, kubeconfig=cluster.kubeconfig, cluster=cluster.cluster_name, before=[cluster])
    auto_mode = cluster.scaling == "auto-mode"
    for name, pool in site.pools.items():
        further: dict[str, Any] = {
            "cluster_name": cluster.cluster_name,
            "node_role_arn": cluster.node_role_arn,
            "subnet_ids": cluster.subnet_ids,
            "scaling": cluster.scaling,
        }
        if auto_mode:
            further["security_group_ids"] = cluster.security_group_ids
        own = _own(pool.eks, "eks", pool)
        with _pool_blame(loaded, key, name, "eks"):
            made = aws.EksNodePool(
                f"{key}-{name}",
                cast("aws.EksNodePoolArgs", {**further, **_pool_args(pool), **own}),
                options,
            )
        _add(place, name, made)
    _device_plugins(loaded, key, site, place)
    if not auto_mode:
        scaler = _group(site.eks.autoscaler)
        if "image" not in scaler:
            scaler["kubernetes_version"] = cluster.kubernetes_version
        with blame(loaded, (*path, "autoscaler")):
            made_scaler = aws.ClusterAutoscaler(
                f"{key}-autoscaler",
                cast("aws.ClusterAutoscalerArgs", {"cluster_name": cluster.cluster_name, **scaler}),
                options,
            )
        place.before.append(made_scaler)
    return place


def _gke(loaded: Loaded, key: str, site: Site) -> Place:
    import pulumi_gcp  # noqa: PLC0415 - 135 MB that other grounds do not need
    from berth_components import gcp  # noqa: PLC0415 - as above

    if site.gke is None:
        raise AssertionError(key)
    project = site.gke.project or NO_PROJECT
    provider = pulumi_gcp.Provider(
        f"{key}-google",
        project=project,
        region=pools.region_of(site),
        default_labels={"berth-stack": loaded.name, "berth-site": key},
    )
    args = {**_group(site.gke), "project": project}
    if not site.gke.project:
        args.setdefault("project_number", NO_PROJECT_NUMBER)
    if not site.gke.existing:
        args.setdefault("name", f"{loaded.name}-{key}")
    with blame(loaded, ("sites", key, "gke")):
        cluster = gcp.GkeCluster(
            key, cast("gcp.GkeClusterArgs", args), pulumi.ResourceOptions(providers={"gcp": provider})
        )
    options = pulumi.ResourceOptions(providers={"gcp": provider, "kubernetes": cluster.provider})
    place = Place(options, kubeconfig=cluster.kubeconfig, before=[cluster])
    boot_disks = bool(site.gke.encryption and site.gke.encryption.boot_disks)
    for name, pool in site.pools.items():
        further: dict[str, Any] = {
            "cluster": cluster.cluster_id,
            "project": project,
            "location": site.gke.location,
            "service_account": cluster.node_service_account,
        }
        if boot_disks:
            further["boot_disk_kms_key"] = cluster.boot_disk_kms_key
        # A pool is where its cluster is.
        zones = {"zones": site.gke.zones} if site.gke.zones else {}
        own = _own(pool.gke, "gke", pool)
        with _pool_blame(loaded, key, name, "gke"):
            made = gcp.GkeNodePool(
                f"{key}-{name}",
                cast(
                    "gcp.GkeNodePoolArgs",
                    {**further, **zones, **_pool_args(pool), **own},
                ),
                options,
            )
        _add(place, name, made)
        # Nobody knows whether a cluster that was there has the class: its models name one themselves.
        if made.storage_class and not site.gke.existing:
            place.storage_classes[name] = made.storage_class
    _device_plugins(loaded, key, site, place)
    return place


def _on(provider: kubernetes.Provider) -> pulumi.ResourceOptions:
    return pulumi.ResourceOptions(providers={"kubernetes": provider})


def _add(place: Place, name: str, made: NodePool) -> None:
    place.pools[name] = made.spec
    place.before.append(made)


def _pool_args(pool: Pool) -> dict[str, Any]:
    """The args that every ground's pools have."""
    renamed = {"min": "min_nodes", "max": "max_nodes", "capacity": "capacity_type"}
    args = _group(pool, leave_out={"eks", "gke"})
    return {renamed.get(name, name): value for name, value in args.items() if value not in ({}, [])}


@contextlib.contextmanager
def _pool_blame(loaded: Loaded, site: str, pool: str, ground: str = "") -> Iterator[None]:
    path: Path = ("sites", site, "pools", pool)
    own = {
        "min_nodes": (*path, "min"),
        "max_nodes": (*path, "max"),
        "capacity_type": (*path, "capacity"),
        **{
            name: (*path, info.alias or name)
            for name, info in Pool.model_fields.items()
            if name not in {"eks", "gke"}
        },
        # What a pool takes over from its site.
        "location": ("sites", site, "gke", "location"),
        "scaling": ("sites", site, "eks", "scaling"),
        "node_role_arn": ("sites", site, "eks", "nodeRoleArn"),
    }
    with blame(loaded, (*path, ground) if ground else path, own):
        yield


def _device_plugins(loaded: Loaded, key: str, site: Site, place: Place) -> None:
    """One plugin per maker of the pools' accelerators, where it is ours to deploy."""
    for kind in pools.PLUGIN_KINDS.values():
        specs = [
            spec for spec in place.pools.values() if pools.PLUGIN_KINDS.get(spec.accelerator.vendor) == kind
        ]
        if not specs or pools.plugin_mode(site, kind) == "existing":
            continue
        settings = pools.plugin_settings(site, kind)
        full = {
            **{
                name: value
                for name, value in _group(settings, leave_out={"mode", "pull_secrets"}).items()
                if value not in ({}, [])
            },
            "kind": kind,
            "node_selectors": [dict(spec.node_selector) for spec in specs],
            "tolerations": [_plain(one) for one in further_tolerations(specs)],
        }
        if settings and settings.pull_secrets:
            full["image_pull_secrets"] = settings.pull_secrets
        path: Path = ("sites", key, "devicePlugins", kind)
        with blame(loaded, path, {"image_pull_secrets": (*path, "pullSecrets")}):
            plugin = DevicePlugin(f"{key}-{kind}", cast("DevicePluginArgs", full), place.options)
        place.before.append(plugin)


def further_tolerations(specs: Sequence[PoolSpec]) -> list[Mapping[str, str]]:
    """Tolerations of the pools' further taints; components add the accelerator's own by themselves."""
    return [one for spec in specs for one in spec.tolerations if one["key"] != spec.resource]


def _own(settings: Settings | None, ground: str, pool: Pool) -> dict[str, Any]:
    """The args that only one ground's pools have; a reservation that nobody has named stays open."""
    args = _group(settings)
    if pool.capacity == "reserved" and settings is not None:
        if ground == "gke":
            args.setdefault("reservation", NO_RESERVATION[ground])
        elif "reservation" in args:
            args["reservation"].setdefault("id", NO_RESERVATION[ground])
    return args


def _plain(toleration: Mapping[str, str]) -> dict[str, str]:
    """Without the operator, which the value says."""
    return {key: value for key, value in toleration.items() if key != "operator"}


def _group(settings: Settings | None, leave_out: set[str] | None = None) -> dict[str, Any]:
    """Settings as args: the same keys in snake case, what is absent left out."""
    return settings.model_dump(exclude_none=True, exclude=leave_out or set()) if settings else {}

"""What is known of a site's pools before anybody is asked: the machine, and what it holds."""

from berth_catalogue.errors import CatalogueError
from berth_catalogue.machines import Machine, choose, machine

from berth_stacks.grounds import DevicePlugin, Pool
from berth_stacks.settings import Site

GROUNDS = ("cluster", "eks", "gke", "sagemaker")
"""The settings of a site that say where it is; exactly one is given."""
PLUGIN_KINDS = {"nvidia": "nvidia", "aws": "neuron"}
"""Makers of accelerators whose device plugin is a component of ours, and what it calls them."""
_CATALOGUE = {"eks": "aws", "gke": "gcp", "sagemaker": "aws", "cluster": "own"}


def grounds_of(site: Site) -> list[str]:
    """Which of `GROUNDS` a site names; the rules let exactly one pass."""
    return [key for key in GROUNDS if getattr(site, key) is not None]


def ground_of(site: Site) -> str:
    """The one that it names; "" where it names none or several."""
    named = grounds_of(site)
    return named[0] if len(named) == 1 else ""


def home(site: Site, key: str) -> tuple[str, ...]:
    """Which cluster a site is in: equal for two sites of one cluster. One that is made is in no other."""
    if site.cluster:
        found = site.cluster
        where = ("of", found.stack, found.site or key) if found.stack else (found.kubeconfig, found.context)
        return tuple(map(str, where))
    if site.eks and site.eks.existing:
        return ("eks", site.eks.region, str(site.eks.name))
    if site.gke and site.gke.existing:
        return ("gke", str(site.gke.project), site.gke.location, site.gke.existing)
    return ("made", key)


def catalogue_ground(site: Site) -> str:
    """The catalogue's name for where it is: aws, gcp or own."""
    return _CATALOGUE.get(ground_of(site), "own")


def dns_of(site: Site) -> str:
    """Who answers names in its cluster, as `ModelServer` takes it."""
    if site.cluster:
        return site.cluster.dns or "pods"
    return {"eks": "eks", "gke": "gke"}.get(ground_of(site), "pods")


def region_of(site: Site) -> str:
    """The cloud's region; "" on own hardware."""
    if site.gke:
        place = site.gke.location
        return place.rpartition("-")[0] if place.count("-") > 1 else place
    cloud = site.eks or site.sagemaker
    return cloud.region if cloud else ""


def zones_of(site: Site, pool: Pool) -> list[str]:
    """The zones that a pool's nodes are told to be in; none where the ground chooses."""
    if site.gke:
        is_zone = region_of(site) != site.gke.location
        chosen = pool.gke.zones if pool.gke else None
        return chosen or site.gke.zones or ([site.gke.location] if is_zone else [])
    return list(site.eks.vpc.zones) if site.eks and site.eks.vpc else []


def machine_of(site: Site, pool: Pool) -> Machine | None:
    """The machine of a pool's nodes; None on own hardware, and where the catalogue has none that fits."""
    ground = catalogue_ground(site)
    if ground == "own":
        return None
    try:
        if pool.machine_type:
            return machine(ground, pool.machine_type)
        return choose(ground, pool.accelerator, pool.accelerators_per_node, capacity_of(pool))
    except CatalogueError:
        return None


def plugin_settings(site: Site, kind: str) -> DevicePlugin | None:
    """What is said of a device plugin."""
    given: DevicePlugin | None = getattr(site.device_plugins, kind) if site.device_plugins else None
    return given


def plugin_mode(site: Site, kind: str) -> str:
    """Who deploys a device plugin: managed is this stack, existing somebody else."""
    given = plugin_settings(site, kind)
    if given and given.mode:
        return given.mode
    # Auto Mode brings them, as GKE does.
    return "managed" if site.eks and site.eks.scaling != "auto-mode" else "existing"


def capacity_of(pool: Pool) -> str:
    """How its nodes are bought."""
    return pool.capacity or "on-demand"

"""What environment local alone has: clusters of this machine, and hardware that is simulated."""

from collections.abc import Iterator

from berth_stacks import build
from berth_stacks.errors import Path, Problem
from berth_stacks.settings import Site, Stack

_ONLY = "only in environment local"


def site_problems(stack: Stack, key: str, site: Site) -> Iterator[Problem]:
    """What belongs to another environment."""
    path: Path = ("sites", key)
    if stack.environment != "local":
        real = "elsewhere accelerators are real"
        for name, given, remedy in (
            ("simulatedGpus", site.simulated_gpus, real),
            ("simulatedNodes", site.simulated_nodes, real),
            ("localCluster", site.local_cluster, "elsewhere a site says what its cluster is"),
        ):
            if given is not None:
                yield Problem((*path, name), "is given", _ONLY, remedy)
        return
    if site.pools:
        yield Problem((*path, "pools"), "is given", "none in environment local", "its hardware is simulated")
    if site.simulated_gpus is not None and site.simulated_nodes is not None:
        yield Problem(
            (*path, "simulatedGpus"), "is given", "nothing beside simulatedNodes", "those nodes have the GPUs"
        )


def accelerator_problems(stack: Stack, at: build.Placed) -> Iterator[Problem]:
    """Whether the simulated accelerators are enough for a model."""
    if stack.environment != "local":
        return
    path: Path = ("models", at.model_key, "gpu", "count")
    nodes = at.site.simulated_nodes
    if nodes is not None:
        room = nodes.count * (nodes.gpus // at.gpus) if at.gpus else 0
        wanted = at.most + at.surge
        if room < wanted:
            most = f"{at.most}{f' + {at.surge} while it is updated' if at.surge else ''}"
            given = f"is {at.gpus}, so {room} replica(s) fit, of up to {most}" if at.gpus else "is missing"
            allowed = f"what {nodes.count} node(s) with {nodes.gpus} simulated GPU(s) each hold"
            remedy = f"set it to 1, or raise berth:sites.{at.site_key}.simulatedNodes"
            yield Problem(path, given, allowed, remedy)
    elif at.gpus * at.most > (at.site.simulated_gpus or 0):
        yield Problem(
            path,
            f"is {at.gpus}, for up to {at.most} replica(s)",
            f"as many as the site simulates: {at.site.simulated_gpus or 0}",
            f"set berth:sites.{at.site_key}.simulatedGpus, and start the cluster with --simulated-gpus",
        )

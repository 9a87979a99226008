"""What a model on SageMaker cannot be told, since nothing there would do it."""

from collections.abc import Iterator

from berth_catalogue.accelerators import accelerators
from berth_catalogue.models import Weights, models
from berth_catalogue.pairings import pairings

from berth_stacks import build
from berth_stacks.errors import Path, Problem, nearest
from berth_stacks.grounds_aws import SageMaker
from berth_stacks.settings import Model, Site, Stack

_OF_CLUSTERS = {
    "replicas": "sagemaker.scaling says how many instances",
    "autoscaling": "sagemaker.scaling says how many instances",
    "pool": "SageMaker has instances of its own",
    "gpu": "sagemaker.acceleratorsPerInstance says it",
    "weights": "they are in the image, or sagemaker.weights says where",
    "placement": "SageMaker has instances of its own",
    "service": "clients call the endpoint",
    "termination": "SageMaker gives no grace of ours",
    "probes": "sagemaker.startupSeconds is the budget",
    "rollout": "sagemaker.update says how",
}
"""Settings of a model that only a cluster has, and what is there instead."""


def sagemaker_problems(stack: Stack) -> Iterator[Problem]:
    """Everything that is said of models and sites in vain, and what they lack."""
    for key, model in stack.models.items():
        sites = [stack.sites[site] for site in model.sites if site in stack.sites]
        if sites and all(site.sagemaker for site in sites):
            yield from _in_vain(("models", key), model)
        elif sites and model.engine.resources is None:
            yield Problem(("models", key, "engine", "resources"), "is missing", "CPU and memory")
    for at in build.placed(stack):
        if at.site.sagemaker and (at.model.engine.name, at.accelerator) not in pairings():
            yield _pairing(at)
        if at.site.sagemaker:
            yield from _files(at, at.site.sagemaker)
    yield from _of_one_model(stack)
    for key, site in stack.sites.items():
        if site.sagemaker:
            yield from _site(stack, key, site)


def _in_vain(path: Path, model: Model) -> Iterator[Problem]:
    allowed = "nothing at sites on SageMaker alone"
    for name, remedy in _OF_CLUSTERS.items():
        if getattr(model, name) is not None:
            yield Problem((*path, name), "is given", allowed, remedy)
    for owner, name, found in (
        ("engine", "resources", model.engine.resources),
        ("engine", "sharedMemory", model.engine.shared_memory),
        ("engine", "scratch", model.engine.scratch),
        ("gateway", "resources", model.gateway and model.gateway.resources),
    ):
        if found is not None:
            remedy = "the instance's are the container's"
            yield Problem((*path, owner, name), "is given", allowed, remedy)


def _files(at: build.Placed, site: SageMaker) -> Iterator[Problem]:
    """What only a pod's volumes bring, and what needs a way out."""
    gateway, path = at.model.gateway, ("models", at.model_key, "gateway")
    if gateway is None:
        return
    where = f"nothing at site '{at.site_key}'"
    for name, value in (("filters", gateway.filters), ("tlsSecret", gateway.tls_secret)):
        if value:
            yield Problem((*path, name), "is given", where, "SageMaker puts no file into the container")
    if gateway.otlp_endpoint and site.network_isolation is not False:
        yield Problem((*path, "otlpEndpoint"), "is given", where, "its containers open no connection")


def _of_one_model(stack: Stack) -> Iterator[Problem]:
    for key, site in stack.sites.items():
        if site.sagemaker is None or site.sagemaker.weights is None:
            continue
        path: Path = ("sites", key, "sagemaker", "weights")
        here = [at for at in build.placed(stack) if at.site_key == key]
        if len(here) > 1:
            names = ", ".join(at.model_key for at in here)
            yield Problem(path, f"is given for {names}", "the weights of one model", "a site for each")
        for at in here:
            if at.model.model in models() and isinstance(models()[at.model.model].weights, Weights):
                remedy = f"the image has those of {at.model.model}"
                yield Problem(path, "is given", "nothing for weights that are packaged", remedy)


def _pairing(at: build.Placed) -> Problem:
    serving = sorted(engine for engine, where in pairings() if where == at.accelerator)
    if serving:
        given = f"is {at.model.engine.name}, which does not serve on {at.accelerator}"
        path: Path = ("models", at.model_key, "engine", "name")
        return Problem(path, given, "one of " + ", ".join(serving), f"at site '{at.site_key}'")
    known = sorted(accelerators())
    path = ("sites", at.site_key, "sagemaker", "accelerator")
    hint = nearest(at.accelerator, known)
    return Problem(path, f"is {at.accelerator!r}", "one of " + ", ".join(known), hint)


def _site(stack: Stack, key: str, site: Site) -> Iterator[Problem]:
    if stack.environment == "production" and site.sagemaker and site.sagemaker.scaling.min_instances == 1:
        path: Path = ("sites", key, "sagemaker", "scaling", "minInstances")
        remedy = "one instance's end would be an outage"
        yield Problem(path, "is 1", "at least 2 in production", remedy)
    for name, value in (
        ("pools", site.pools),
        ("namespace", site.namespace),
        ("nodeAddress", site.node_address),
        ("nodeSelector", site.node_selector),
        ("tolerations", site.tolerations),
        ("devicePlugins", site.device_plugins),
    ):
        if value:
            yield Problem(("sites", key, name), "is given", "nothing on SageMaker", "it has no cluster")

"""What settings must be beside each other, and what an environment asks for."""

import re
from collections.abc import Iterator, Mapping

from berth_catalogue.engines import engines
from berth_catalogue.models import HubWeights, models
from berth_catalogue.weights_pins import Pins
from berth_components import checks
from berth_components.arguments import Refusal

from berth_stacks import build, pools, rules_local
from berth_stacks.component_rules import component_problems, service_path
from berth_stacks.errors import Path, Problem, nearest
from berth_stacks.gateway_tls import tls_problems
from berth_stacks.hybrid_rules import hybrid_problems
from berth_stacks.rules_pools import pool_problems
from berth_stacks.rules_sagemaker import sagemaker_problems
from berth_stacks.settings import Model, Site, Stack
from berth_stacks.waking import waking_problems

_SITE = re.compile(r"[a-z]([-a-z0-9]{0,18}[a-z0-9])?")
# GKE takes 40 characters of <site>-<pool>.
_POOL = re.compile(r"[a-z]([-a-z0-9]{0,17}[a-z0-9])?")


_KNOWN_BY = {"s3": "eks", "gcs": "gke"}
"""The ground whose pods have an identity that the store knows."""


def broken_rules(
    stack: Stack, name: str, pins: Mapping[str, Pins], *, has_api_keys: bool
) -> Iterator[Problem]:
    """Every rule that the settings of a stack break."""
    yield from _keys(stack)
    yield from _api_keys(stack, has_api_keys=has_api_keys)
    unknown = [*unknown_names(stack)]
    yield from unknown
    if unknown:
        return  # what is served by what is not known, so nothing more can be said about it
    placement = [
        *pool_problems(stack, name, pins),
        *sagemaker_problems(stack),
        *_identities(stack),
        *hybrid_problems(stack),
        *tls_problems(stack),
    ]
    yield from placement
    # Of a model whose engine does not suit, no more can be said; of a setting, once is enough.
    said = {problem.path for problem in placement}
    unsuited = {path[1] for path in said if path[0] == "models" and path[2:] == ("engine", "name")}
    for problem in component_problems(stack, name, pins):
        of_unsuited = problem.path[0] == "models" and problem.path[1] in unsuited
        if problem.path not in said and not of_unsuited:
            yield problem
    yield from waking_problems(stack)
    yield from _contexts(stack)
    yield from _weights(stack)
    yield from _sites(stack, name)
    yield from _node_ports(stack)
    yield from _names(stack)
    yield from _images(stack)
    if stack.environment == "production":
        yield from _production(stack)


def _keys(stack: Stack) -> Iterator[Problem]:
    if not stack.sites:
        yield Problem(("sites",), "is empty", "at least one of the sites")
    short = "1 to 20 lower-case letters, digits and '-', beginning with a letter"
    for key, site in stack.sites.items():
        if not _SITE.fullmatch(key):
            yield Problem(("sites", key), f"has the key '{key}'", short)
        for name in site.pools:
            if not _POOL.fullmatch(name):
                path: Path = ("sites", key, "pools", name)
                yield Problem(path, f"has the key '{name}'", short.replace("20", "19"), "clouds take no more")
    misplaced = [problem for key, model in stack.models.items() for problem in _places(stack, key, model)]
    yield from misplaced
    # A site without a model is mostly the other half of a misspelt one.
    for key in (
        []
        if misplaced
        else stack.sites.keys() - {site for model in stack.models.values() for site in model.sites}
        if stack.models
        else ()
    ):
        remedy = "remove it, or add it to a model's sites"
        yield Problem(("sites", key), "serves no model", "a site that a model names", remedy)


def _places(stack: Stack, key: str, model: Model) -> Iterator[Problem]:
    try:
        checks.server_name(key)
    except Refusal as refusal:
        yield Problem(("models", key), f"has the key '{key}'", refusal.allowed)
    if not model.sites:
        yield Problem(("models", key, "sites"), "is empty", "at least one of " + ", ".join(stack.sites))
    for i, site in enumerate(model.sites):
        path = ("models", key, "sites", i)
        if site not in stack.sites:
            allowed = "one of " + ", ".join(stack.sites)
            yield Problem(path, f"is {site!r}", allowed, nearest(site, [*stack.sites]))
        elif site in model.sites[:i]:
            yield Problem(path, f"is {site!r} again", "each site once")


def _api_keys(stack: Stack, *, has_api_keys: bool) -> Iterator[Problem]:
    if has_api_keys and stack.api_keys_secret:
        yield Problem(("apiKeysSecret",), "is given beside apiKeys", "one of the two")


def unknown_names(stack: Stack) -> Iterator[Problem]:
    """Models and engines that the catalogue does not have."""
    for key, model in stack.models.items():
        for path, word, words in (
            (("models", key, "model"), model.model, sorted(models())),
            (("models", key, "engine", "name"), model.engine.name, sorted(engines())),
        ):
            if word not in words:
                yield Problem(path, f"is {word!r}", "one of " + ", ".join(words), nearest(word, words))


def _weights(stack: Stack) -> Iterator[Problem]:
    for key, model in stack.models.items():
        weights = models()[model.model].weights
        path: Path = ("models", key, "weights")
        if not isinstance(weights, HubWeights):
            if model.weights and model.weights.source:
                given = f"is {model.weights.source}, but {model.model} is packaged in an image"
                yield Problem((*path, "source"), given, "nothing", "remove it")
        elif all(stack.sites[site].sagemaker for site in model.sites if site in stack.sites):
            continue  # the image, or sagemaker.weights, has them
        elif weights.gated and not (model.weights and (model.weights.token_secret or _elsewhere(model))):
            given, allowed = f"is missing, and {model.model} is behind a licence", "a Secret that exists"
            remedy = "its entry `token` is the hub's token of an account that accepted the licence"
            yield Problem((*path, "tokenSecret"), given, allowed, remedy)


def _identities(stack: Stack) -> Iterator[Problem]:
    for at in build.placed(stack):
        weights = at.model.weights
        if weights is None or not weights.identity:
            continue
        path: Path = ("models", at.model_key, "weights", "identity")
        wanted = _KNOWN_BY.get(weights.source or "hub")
        if wanted is None:
            yield Problem(path, "is true", "it only with source s3 or gcs", "remove it")
        elif pools.ground_of(at.site) != wanted:
            given = f"is true, but site {at.site_key} is no {wanted} site of this stack"
            remedy = "name a credentialsSecret, or give the account its role where the cluster is made"
            yield Problem(path, given, f"it only at {wanted} sites", remedy)


def _elsewhere(model: Model) -> bool:
    """Whether the files come from a place of the user's own, which asks no hub for leave."""
    return model.weights is not None and model.weights.source not in {None, "hub"}


def _contexts(stack: Stack) -> Iterator[Problem]:
    for key, model in stack.models.items():
        longest = models()[model.model].context_tokens
        if model.tokens.max_total > longest:
            path = ("models", key, "tokens", "maxTotal")
            allowed = f"at most {longest}, the context that {model.model} was trained for"
            yield Problem(path, f"is {model.tokens.max_total}", allowed)


def _sites(stack: Stack, name: str) -> Iterator[Problem]:
    homes: dict[object, str] = {}
    for key, site in stack.sites.items():
        yield from _ground(key, site, stack)
        if pools.ground_of(site) in {"", "sagemaker"}:
            continue
        where = build.namespace(stack, site, name)
        home = (pools.home(site, key), where)
        if other := homes.get(home):
            yield Problem(
                ("sites", key),
                f"is the same cluster and namespace as site '{other}'",
                "a namespace of its own",
                f"set berth:sites.{key}.namespace",
            )
        homes[home] = key
        if not checks.DNS_LABEL.fullmatch(where):
            yield Problem(
                ("namespace",), f"would be '{where}'", "a name of a namespace", "set berth:namespace"
            )
    adapter = stack.metrics_adapter
    if (adapter.mode == "keda") != (adapter.prometheus is not None):
        said = "is missing" if adapter.prometheus is None else "is given"
        allowed = "an address with mode keda, nothing with others: KEDA asks it instead of our adapter"
        yield Problem(("metricsAdapter", "prometheus"), said, allowed)
    for at in build.placed(stack):
        yield from rules_local.accelerator_problems(stack, at)
        if at.by_queue and stack.metrics_adapter.mode == "none":
            metric = ("models", at.model_key, "autoscaling", "metric")
            allowed = "cpu where metricsAdapter.mode is none"
            yield Problem(metric, "is queue_depth", allowed, "nothing measures it")


def _ground(key: str, site: Site, stack: Stack) -> Iterator[Problem]:
    """Exactly one ground, and what is for others only."""
    path: Path = ("sites", key)
    named = pools.grounds_of(site)
    if not named:
        remedy = "./berth up local fills cluster in for the local cluster"
        yield Problem(path, "has no ground", "one of " + ", ".join(pools.GROUNDS), remedy)
    if len(named) > 1:
        yield Problem((*path, named[1]), f"is given beside {named[0]}", "one ground", "make two sites of it")
    if site.eks and site.eks.autoscaler and site.eks.scaling == "auto-mode":
        allowed = "nothing where eks.scaling is auto-mode"
        yield Problem((*path, "eks", "autoscaler"), "is given", allowed, "EKS adds nodes by itself")
    if site.cluster:
        cluster = (*path, "cluster")
        if (site.cluster.kubeconfig is None) == (site.cluster.stack is None):
            given = (
                "has neither kubeconfig nor stack"
                if site.cluster.stack is None
                else "has kubeconfig and stack"
            )
            yield Problem(
                cluster, given, "one of the two", "./berth up local fills it in for the local cluster"
            )
        if site.cluster.context is not None and site.cluster.stack is not None:
            yield Problem((*cluster, "context"), "is given", "only with kubeconfig")
        if site.cluster.site is not None and site.cluster.stack is None:
            yield Problem((*cluster, "site"), "is given", "only with stack")
    yield from rules_local.site_problems(stack, key, site)


def _node_ports(stack: Stack) -> Iterator[Problem]:
    taken: dict[tuple[object, int], str] = {}
    path: Path
    for at in build.placed(stack):
        service = at.model.service
        if service is None or service.type != "NodePort":
            continue
        if at.site.node_address is None:
            reason = f"model '{at.model_key}' is on a NodePort"
            yield Problem(("sites", at.site_key, "nodeAddress"), "is missing", "a node's address", reason)
        if service.node_port is None:
            continue
        owner = taken.setdefault((pools.home(at.site, at.site_key), service.node_port), at.title)
        if owner != at.title:
            path = (*service_path(stack, at), "nodePort")
            yield Problem(
                path, f"is {service.node_port}", f"a port that {owner} does not have in that cluster"
            )


def _names(stack: Stack) -> Iterator[Problem]:
    """Components are called <site>-<model>, which both a-b with c and a with b-c are."""
    taken: dict[str, str] = {}
    for at in build.placed(stack):
        owner = taken.setdefault(at.name, at.title)
        if owner != at.title:
            path = ("models", at.model_key)
            given = f"would be called {at.name} at site '{at.site_key}', as {owner} is"
            yield Problem(path, given, f"a name other than that of {owner} for {at.title}", "rename one key")


def _images(stack: Stack) -> Iterator[Problem]:
    needed = build.roles(stack)
    for role, reference in stack.images.refs.items():
        path = ("images", "refs", role)
        registry = stack.images.registry
        if registry and not reference.startswith(registry.rstrip("/") + "/"):
            yield Problem(path, f"is {reference}", f"an image of images.registry, {registry}")
        if stack.environment == "production" and role in needed and not checks.has_digest(reference):
            remedy = "./berth images pin asks the registry for it"
            yield Problem(path, f"is {reference}", "an image by digest in production", remedy)


def _production(stack: Stack) -> Iterator[Problem]:
    for key, model in stack.models.items():
        scaling = model.autoscaling
        fewest = scaling.min if scaling else model.replicas
        if fewest is not None and fewest <= 1:
            path: Path = ("models", key, "autoscaling", "min") if scaling else ("models", key, "replicas")
            yield Problem(
                path, f"is {fewest}", "at least 2 in production", "one node's end would be an outage"
            )
    if stack.metrics_adapter.replicas == 1:
        path = ("metricsAdapter", "replicas")
        yield Problem(
            path, "is 1", "at least 2 in production", "autoscaling stands still without the adapter"
        )

"""What the components would refuse, at the settings that it comes from."""

import re
from collections.abc import Iterator, Mapping

from berth_catalogue.weights_pins import Pins
from berth_components import (
    ArgumentError,
    AutoscalerArgs,
    KedaAutoscalerArgs,
    MetricsAdapterArgs,
    ModelServerArgs,
)
from berth_components.arguments import Arguments
from berth_components.autoscaler import read_spec
from berth_components.keda_autoscaler import read_keda_spec
from berth_components.metrics_adapter import read as read_adapter
from berth_components.model_server_settings import problems as server_problems
from pydantic.alias_generators import to_camel

from berth_stacks import afar, build
from berth_stacks.errors import Path, Problem
from berth_stacks.settings import Stack

# Where the args of a ModelServer come from, if not from the setting of the same name below the model.
_ELSEWHERE: dict[str, Path] = {
    "access.client_cidrs": ("clients", "cidrs"),
    "access.client_namespaces": ("clients", "namespaces"),
    "access.metrics_namespaces": ("metricsNamespaces",),
    "access.public_reason": ("clients", "publicReason"),
    "api_keys_secret": ("apiKeysSecret",),
    "image_pull_secrets": ("images", "pullSecrets"),
    "namespace": ("namespace",),
}
# Arguments of components that the settings call something else than their camelCase.
_RENAMED = {
    "min_replicas": "min",
    "max_replicas": "max",
    "client_cidrs": "clients.cidrs",
    "client_namespaces": "clients.namespaces",
    "public_reason": "clients.publicReason",
}
_WORDS = frozenset({"queue_depth"})
"""Values that look like arguments."""


def server_arguments(stack: Stack, name: str, at: build.Placed, pins: Mapping[str, Pins]) -> Arguments:
    """The args of a model's server as far as settings make them, to be checked by the component."""
    keys = None if stack.api_keys_secret else build.NO_KEYS
    given = build.Given(build.references(stack), pins, keys)
    args = build.server_args(stack, at, build.namespace(stack, at.site, name), given)
    return Arguments("", args, ModelServerArgs)


def component_problems(stack: Stack, name: str, pins: Mapping[str, Pins]) -> Iterator[Problem]:
    """Each thing that a component would refuse, once, however many sites the model has."""
    seen: set[Path] = set()
    images = build.references(stack)
    for at in build.placed(stack):
        found = server_problems(server_arguments(stack, name, at, pins), at.model_key)
        # The name is the model's key, which has a rule of its own; that it sleeps, too.
        problems = [
            _problem(error, _server_path(stack, error.argument, at))
            for error in found
            if error.argument not in {"name", "sleeps"}
        ]
        if at.model.autoscaling and not at.site.sagemaker:
            args = build.autoscaler_args(at, "n", "d", "s")
            try:
                if build.by_keda(stack, at):
                    read_keda_spec(Arguments("", build.keda_args(stack, args), KedaAutoscalerArgs))
                else:
                    read_spec(Arguments("", args, AutoscalerArgs))
            except ArgumentError as error:
                # Whether zero is allowed is a matter of several settings, which have rules of their own.
                if error.argument != "wakes":
                    problems.append(_problem(error, _autoscaler_path(error.argument, at)))
        for problem in problems:
            if problem.path not in seen:
                seen.add(problem.path)
                yield problem
    if stack.models and build.has_adapter(stack):
        try:
            read_adapter(Arguments("", build.adapter_args(stack, images), MetricsAdapterArgs))
        except ArgumentError as error:
            yield _problem(error, ("metricsAdapter", *camel(error.argument)))


def _problem(error: ArgumentError, path: Path) -> Problem:
    return Problem(path, error.given, camel_words(error.allowed), camel_words(error.remedy))


def _server_path(stack: Stack, argument: str, at: build.Placed) -> Path:
    if at.beyond and (beyond := _beyond_path(stack, argument, at)):
        return beyond
    if argument in _ELSEWHERE:
        return _ELSEWHERE[argument]
    path = camel(argument)
    match path:
        case ("weights", "source" | "file" | "sha256" | "repo" | "revision" | "files"):
            return ("models", at.model_key, "model")
        case ("placement", "tolerations", int(i), *rest) if i < len(at.site.tolerations):
            return ("sites", at.site_key, "tolerations", i, *rest)
        case ("placement", "tolerations", int(i), *rest):
            own = i - len(at.site.tolerations)
            return ("models", at.model_key, "placement", "tolerations", own, *rest)
    return ("models", at.model_key, *path)


def _beyond_path(stack: Stack, argument: str, at: build.Placed) -> Path:
    """Where an argument comes from that the router says from afar; () where it does not."""
    beyond: Path = ("routers", at.beyond, "hybrid", "beyond")
    known: dict[str, Path] = {"access.client_cidrs": ("cidrs",), "gateway.tls_secret": ("tls", "secret")}
    path = camel(argument)
    if path[0] == "service":
        return (*service_path(stack, at), *path[1:])
    return (*beyond, *known[argument]) if argument in known else ()


def service_path(stack: Stack, at: build.Placed) -> Path:
    """Where the entrance of a model at a site is said."""
    if beyond := afar.beyond_of(stack, at.beyond):
        return ("routers", at.beyond, "hybrid", "beyond", *beyond.where(at.site_key))
    return ("models", at.model_key, "service")


def _autoscaler_path(argument: str, at: build.Placed) -> Path:
    if argument == "prometheus":
        return ("metricsAdapter", "prometheus")
    if argument == "running_target" and at.model.autoscaling and at.model.autoscaling.running_target is None:
        return ("models", at.model_key, "concurrency", "slots")
    return ("models", at.model_key, "autoscaling", *camel(_RENAMED.get(argument, argument)))


def camel(argument: str) -> Path:
    """An argument's path as the settings spell it."""
    parts = re.findall(r"[^.\[\]]+", argument)
    # Pydantic's camel case makes a word of the digits' end.
    return tuple(int(part) if part.isdigit() else to_camel(part).replace("5Xx", "5xx") for part in parts)


def camel_words(text: str) -> str:
    """A component's sentence, with its arguments called as the settings call them."""

    def renamed(match: re.Match[str]) -> str:
        word = match[0]
        return word if word in _WORDS else _RENAMED.get(word, to_camel(word))

    return re.sub(r"\b[a-z]+(_[a-z]+)+\b", renamed, text)

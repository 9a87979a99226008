"""What the components would refuse, at the settings that it comes from."""

import re
from collections.abc import Iterator

from berth_components import ArgumentError, AutoscalerArgs, MetricsAdapterArgs, ModelServerArgs, checks
from berth_components.arguments import Arguments
from berth_components.autoscaler import read_spec
from berth_components.metrics_adapter import read as read_adapter
from berth_components.model_server_settings import problems as server_problems
from pydantic.alias_generators import to_camel

from berth_stacks import build
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


def component_problems(stack: Stack, name: str) -> Iterator[Problem]:
    """Each thing that a component would refuse, once, however many sites the model has."""
    seen: set[Path] = set()
    images = build.references(stack)
    keys = None if stack.api_keys_secret else {"some": "0" * checks.MIN_API_KEY}
    for at in build.placed(stack):
        args = build.server_args(stack, at, build.namespace(stack, at.site, name), keys, images)
        found = server_problems(Arguments("", args, ModelServerArgs), at.model_key)
        # The name is the model's key, which has a rule of its own.
        problems = [
            _problem(error, _server_path(error.argument, at)) for error in found if error.argument != "name"
        ]
        if at.model.autoscaling:
            given = Arguments("", build.autoscaler_args(at, "n", "d", "s"), AutoscalerArgs)
            try:
                read_spec(given)
            except ArgumentError as error:
                problems.append(_problem(error, _autoscaler_path(error.argument, at)))
        for problem in problems:
            if problem.path not in seen:
                seen.add(problem.path)
                yield problem
    if stack.metrics_adapter.mode != "none":
        try:
            read_adapter(Arguments("", build.adapter_args(stack, images), MetricsAdapterArgs))
        except ArgumentError as error:
            yield _problem(error, ("metricsAdapter", *_camel(error.argument)))


def _problem(error: ArgumentError, path: Path) -> Problem:
    return Problem(path, error.given, _camel_words(error.allowed), _camel_words(error.remedy))


def _server_path(argument: str, at: build.Placed) -> Path:
    if argument in _ELSEWHERE:
        return _ELSEWHERE[argument]
    path = _camel(argument)
    match path:
        case ("weights", "source" | "file" | "sha256"):
            return ("models", at.model_key, "model")
        case ("placement", "tolerations", int(i), *rest) if i < len(at.site.tolerations):
            return ("sites", at.site_key, "tolerations", i, *rest)
        case ("placement", "tolerations", int(i), *rest):
            own = i - len(at.site.tolerations)
            return ("models", at.model_key, "placement", "tolerations", own, *rest)
    return ("models", at.model_key, *path)


def _autoscaler_path(argument: str, at: build.Placed) -> Path:
    if argument == "running_target" and at.model.autoscaling and at.model.autoscaling.running_target is None:
        return ("models", at.model_key, "concurrency", "slots")
    return ("models", at.model_key, "autoscaling", *_camel(_RENAMED.get(argument, argument)))


def _camel(argument: str) -> Path:
    parts = re.findall(r"[^.\[\]]+", argument)
    return tuple(int(part) if part.isdigit() else to_camel(part) for part in parts)


def _camel_words(text: str) -> str:
    """A component's sentence, with its arguments called as the settings call them."""

    def renamed(match: re.Match[str]) -> str:
        word = match[0]
        return word if word in _WORDS else _RENAMED.get(word, to_camel(word))

    return re.sub(r"\b[a-z]+(_[a-z]+)+\b", renamed, text)

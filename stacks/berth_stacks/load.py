"""Reading a stack's settings.

Values come from Pulumi, which merges and decrypts them; lines from the stack's file.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import pulumi
from pulumi.runtime import config as pulumi_config
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from berth_stacks.errors import Path as SettingPath
from berth_stacks.errors import Problem, SettingsError
from berth_stacks.lines import NAMESPACE, StackFile
from berth_stacks.rules import broken_rules, nearest
from berth_stacks.settings import Allowed, Stack

_PLAIN = frozenset({"environment", "namespace", "apiKeysSecret"})
_API_KEYS = "apiKeys"
_CONNECTIONS = "connections"
_WITHHELD = "is not as it should be"
"""Said of what may be a secret, instead of its value."""
_KEYS = tuple(field.alias or name for name, field in Stack.model_fields.items())


@dataclass(frozen=True)
class Loaded:
    """A stack's settings, and what is secret beside them."""

    name: str
    settings: Stack
    api_keys: pulumi.Output[Mapping[str, str]] | None


def load(directory: Path) -> Loaded:
    """Read the settings of the stack that runs.

    Args:
        directory: where `Pulumi.<stack>.yaml` is.

    Raises:
        SettingsError: some are wrong; it lists all that can be seen at once.
    """
    name = pulumi.get_stack()
    file = StackFile(directory / f"Pulumi.{name}.yaml", name)
    config = pulumi.Config("berth")
    raw, problems = _raw(config, file)
    problems += _connect(config, raw)
    keys, wrong = _api_keys(config)
    problems += wrong
    if not problems:
        try:
            settings = Stack.model_validate(raw)
        except ValidationError as error:
            problems = [_problem(details) for details in error.errors(include_url=False)]
        else:
            problems = [*broken_rules(settings, name, has_api_keys=keys is not None)]
            if not problems:
                return Loaded(name, settings, keys)
    raise SettingsError(name, [(file.where(found.path), _without_secrets(found)) for found in problems])


def _raw(config: pulumi.Config, file: StackFile) -> tuple[dict[str, Any], list[Problem]]:
    raw: dict[str, Any] = {}
    problems: list[Problem] = []
    given = {**pulumi_config.get_config_env(), **pulumi_config.CONFIG.get()}
    keys = [key.removeprefix(NAMESPACE) for key in given if key.startswith(NAMESPACE)]
    for key in dict.fromkeys([*keys, *file.keys]):
        if key in {_API_KEYS, _CONNECTIONS}:
            continue
        if key not in _KEYS:
            known = sorted([*_KEYS, _API_KEYS, _CONNECTIONS])
            problems.append(_unknown((key,), known))
            continue
        text = config.get(key)
        if text is None:
            continue
        value, problem = (text, None) if key in _PLAIN else _parsed(key, text)
        raw[key] = value
        problems += [problem] if problem else []
    return raw, problems


def _parsed(key: str, text: str) -> tuple[Any, Problem | None]:
    try:
        return json.loads(text), None
    except ValueError:
        return None, Problem((key,), f"is {text!r}", "a mapping", "as in the stack files of the repository")


def _api_keys(config: pulumi.Config) -> tuple[pulumi.Output[Mapping[str, str]] | None, list[Problem]]:
    # Not get_secret_object: Pulumi's error about text that is no JSON repeats it.
    text = config.get(_API_KEYS)
    if text is None:
        return None, []
    try:
        keys = json.loads(text)
    except ValueError:
        keys = None
    if isinstance(keys, dict):
        return pulumi.Output.secret(keys), []
    remedy = "pulumi config set --secret --path 'berth:apiKeys.<name>' \"$(openssl rand -hex 24)\""
    return None, [Problem((_API_KEYS,), "is no mapping", "keys of clients by name", remedy)]


def _without_secrets(problem: Problem) -> Problem:
    """The problem without the value, where its config key is a secret."""
    says_no_value = problem.given in {"is missing", "is empty", "is given", "is no mapping", "does not exist"}
    if says_no_value or not pulumi_config.is_config_secret(f"{NAMESPACE}{problem.path[0]}"):
        return problem
    return replace(problem, given=_WITHHELD)


def _connect(config: pulumi.Config, raw: dict[str, Any]) -> list[Problem]:
    """Lay `connections` over the sites: where the clusters are, as a machine says it that starts this."""
    text = config.get(_CONNECTIONS)
    connections, problem = _parsed(_CONNECTIONS, text) if text is not None else ({}, None)
    if problem or not isinstance(connections, dict):
        # The text may hold credentials, so it is not shown.
        return [Problem((_CONNECTIONS,), "is no mapping", "kubeconfig, context and nodeAddress by site")]
    sites = raw.get("sites")
    if not isinstance(sites, dict):
        return []
    problems = []
    for key, connection in connections.items():
        if key not in sites or not isinstance(connection, dict):
            allowed = "a mapping for one of the sites: " + ", ".join(map(str, sites))
            problems.append(Problem((_CONNECTIONS, key), "is for no site", allowed, nearest(key, [*sites])))
            continue
        if not isinstance(sites[key] or {}, dict):
            continue  # the settings' own types say what is wrong with it
        site = dict(sites[key] or {})
        if "nodeAddress" in connection:
            site["nodeAddress"] = connection["nodeAddress"]
        cluster = {part: value for part, value in connection.items() if part != "nodeAddress"}
        if cluster:
            site["cluster"] = cluster
        sites[key] = site
    return problems


def _unknown(path: SettingPath, known: list[str]) -> Problem:
    hint = nearest(str(path[-1]), known) or "remove it"
    return Problem(path, "does not exist", "one of " + ", ".join(known), hint)


def _problem(error: ErrorDetails) -> Problem:
    """Pydantic's error in our words."""
    path, kind, context = error["loc"], error["type"], error.get("ctx", {})
    owner, field = _owner(path)
    if kind == "extra_forbidden":
        return _unknown(path, sorted(f.alias or name for name, f in owner.model_fields.items()))
    if kind == "missing":
        return Problem(path, "is missing", _allowed(owner, field))
    # A cluster's settings come from `connections` too.
    shown = _WITHHELD if "cluster" in path else f"is {error['input']!r}"
    if kind == "berth":
        return Problem(path, shown, str(context["allowed"]), str(context["remedy"]))
    if kind == "literal_error":
        return Problem(
            path, shown, "one of " + str(context["expected"]).replace("'", "").replace(" or ", ", ")
        )
    plain = {"model_type": "a mapping", "dict_type": "a mapping", "list_type": "a list"}
    return Problem(path, shown, plain.get(kind, error["msg"]))


def _owner(path: SettingPath) -> tuple[type[BaseModel], str]:
    """The group of settings that a path ends in, and the name of its field there."""
    owner: Any = Stack
    for part in path[:-1]:
        if isinstance(owner, type) and issubclass(owner, BaseModel):
            fields = {field.alias or name: field for name, field in owner.model_fields.items()}
            owner = _without_none(fields[str(part)].annotation)
        else:  # dict[str, X] and list[X]
            owner = _without_none(get_args(owner)[-1])
    return (owner if isinstance(owner, type) and issubclass(owner, BaseModel) else BaseModel), str(path[-1])


def _without_none(annotation: Any) -> Any:
    options = [option for option in get_args(annotation) if option is not type(None)]
    return options[0] if type(None) in get_args(annotation) else annotation


def _allowed(owner: type[BaseModel], alias: str) -> str:
    """What a field that is missing would take."""
    field = next(f for name, f in owner.model_fields.items() if (f.alias or name) == alias)
    for constraint in field.metadata:
        if isinstance(constraint, Allowed):
            return constraint.described
    kind = _without_none(field.annotation)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "a mapping with " + ", ".join(f.alias or name for name, f in kind.model_fields.items())
    choices = [str(choice) for choice in get_args(kind) if isinstance(choice, str)]
    if choices:
        return "one of " + ", ".join(choices)
    return "a list" if str(kind).startswith("list") else "a mapping"

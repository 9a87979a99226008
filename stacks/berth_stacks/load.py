"""Reading a stack's settings.

    load(directory)                  in a running program: `pulumi up`, or Berth's deployer
    read(directory, name, config)    anywhere else: `config` is what Pulumi would hand to the program

Both give `Loaded`: `.settings` (a `Stack`), `.findings` (what only another place can answer), `.layers`
(where every value was written), or raise `SettingsError`, which lists everything that is wrong.

Values come from Pulumi, which merges and decrypts them, laid over the bases that the stack extends (see
`berth_stacks.inherit`); lines come from the files.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import pulumi
from berth_catalogue.errors import CatalogueError
from berth_catalogue.models import HubWeights, models
from berth_catalogue.weights_pins import Pins, read_pins
from berth_components.arguments import Refusal
from berth_components.site_reporter import token_check
from pulumi.runtime import config as pulumi_config
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from berth_stacks.errors import Path as SettingPath
from berth_stacks.errors import Problem, SettingsError, nearest
from berth_stacks.fields import Allowed, Hint
from berth_stacks.findings import ADD_A_KEY, SET_A_TOKEN, WEIGHTS, Finding, open_findings, token_findings
from berth_stacks.inherit import EXTENDS, Layers, lay_all
from berth_stacks.lines import NAMESPACE, ConfigFile
from berth_stacks.monitoring_rules import monitoring_findings, monitoring_problems
from berth_stacks.routers import router_problems
from berth_stacks.rules import broken_rules
from berth_stacks.settings import Stack

_API_KEYS = "apiKeys"
_CONNECTIONS = "connections"
_ALERT_SECRETS = "alertSecrets"
_MONITORING_SECRETS = "monitoringSecrets"
_SITE_TOKEN = "siteToken"  # noqa: S105 - the name of a key
_SECRETS = frozenset({_API_KEYS, _ALERT_SECRETS, _MONITORING_SECRETS, _SITE_TOKEN})
"""Keys that are no settings: secrets, most of them mappings."""
_WITHHELD = "is not as it should be"
"""Said of what may be a secret, instead of its value."""
_KEYS = tuple(field.alias or name for name, field in Stack.model_fields.items())
# Settings that are a word, which Pulumi hands over as it is; all others are JSON.
_PLAIN = frozenset({"environment", "namespace", "apiKeysSecret"})

# What a stack without models has use for.
_OF_CLUSTERS = frozenset({"environment", "sites", "models"})


@dataclass(frozen=True)
class Loaded:
    """A stack's settings, and what is beside them.

    Attributes:
        name: the stack's name.
        settings: its settings, defaults filled in.
        api_keys: the clients' keys, by name; None where there are none, or outside of a program.
        findings: what must be asked elsewhere before it can be deployed, or deployed in production.
        layers: where every setting was written.
        pins: pinned weights by model.
        alert_secrets: the receivers' secrets by name; without values outside of a program.
        monitoring_secrets: grafana (its password), remoteWrite and collector (tokens), as far as given.
        site_token: what hybrid controllers show to reporters; None where nobody says it.
    """

    name: str
    settings: Stack
    api_keys: pulumi.Output[Mapping[str, str]] | None
    findings: tuple[Finding, ...]
    layers: Layers
    pins: Mapping[str, Pins]
    alert_secrets: Mapping[str, pulumi.Output[str]] = field(default_factory=dict)
    monitoring_secrets: Mapping[str, pulumi.Output[str]] = field(default_factory=dict)
    site_token: pulumi.Output[str] | None = None


def load(directory: Path) -> Loaded:
    """Read the settings of the stack that runs.

    Args:
        directory: where `Pulumi.<stack>.yaml` is, and the folder `bases`.

    Raises:
        SettingsError: some are wrong; it lists all that can be seen at once.
    """
    given = {**pulumi_config.get_config_env(), **pulumi_config.CONFIG.get()}
    loaded, secrets = _read(directory, pulumi.get_stack(), given, pulumi_config.is_config_secret)
    # As outputs, so that none is shown by accident.
    return replace(
        loaded,
        api_keys=pulumi.Output.secret(secrets[_API_KEYS]) if secrets[_API_KEYS] else None,
        alert_secrets=_outputs(secrets[_ALERT_SECRETS]),
        monitoring_secrets=_outputs(secrets[_MONITORING_SECRETS]),
        site_token=_outputs(secrets[_SITE_TOKEN]).get(_SITE_TOKEN),
    )


def _outputs(secrets: Mapping[str, str]) -> dict[str, pulumi.Output[str]]:
    return {name: pulumi.Output.secret(one) for name, one in secrets.items()}


def read(
    directory: Path, name: str, config: Mapping[str, str], secret_keys: frozenset[str] = frozenset()
) -> Loaded:
    """Read a stack's settings where no program runs.

    Args:
        directory: where `Pulumi.<stack>.yaml` is, and the folder `bases`.
        name: the stack's name.
        config: its configuration by full key, objects as JSON, as `berth.deployer.load_config` gives it.
        secret_keys: which of the keys are secret; no message shows their values.

    Raises:
        SettingsError: some are wrong; it lists all that can be seen at once.
    """
    return _read(directory, name, config, secret_keys.__contains__)[0]


def _read(
    directory: Path, name: str, given: Mapping[str, str], is_secret: Callable[[str], bool]
) -> tuple[Loaded, dict[str, dict[str, str]]]:
    file = ConfigFile(directory / f"Pulumi.{name}.yaml", name)
    ours = {key.removeprefix(NAMESPACE): text for key, text in given.items() if key.startswith(NAMESPACE)}
    keys, problems = _api_keys(ours.get(_API_KEYS))
    alerting, wrong = _named_secrets(_ALERT_SECRETS, ours)
    problems += wrong
    beside, wrong = _named_secrets(_MONITORING_SECRETS, ours)
    problems += wrong
    token, wrong = _site_token(ours.get(_SITE_TOKEN))
    problems += wrong
    values, wrong = _values(ours, file)
    problems += wrong
    layers = lay_all(directory, name, file, values)
    raw = layers.values
    problems += [
        _unknown((key,), sorted({*_KEYS, *_SECRETS, _CONNECTIONS, EXTENDS})) for key in raw.keys() - {*_KEYS}
    ]
    problems += _connect(ours.get(_CONNECTIONS), raw)
    if not problems:
        try:
            settings = Stack.model_validate(raw)
        except ValidationError as error:
            problems = _once([_problem(details) for details in error.errors(include_url=False)])
        else:
            pins, wrong_pins = _pins(directory, settings)
            problems = [*wrong_pins, *broken_rules(settings, name, pins, has_api_keys=keys is not None)]
            problems += _unused(settings, layers)
            problems += router_problems(settings, name)
            problems += monitoring_problems(settings, alerting.keys(), beside.keys())
            if not problems:
                findings = (
                    *open_findings(settings, pins, has_api_keys=keys is not None),
                    *monitoring_findings(settings, alerting.keys(), beside.keys()),
                    *token_findings(settings, has_token=bool(token)),
                )
                loaded = Loaded(name, settings, None, findings, layers, pins)
                return loaded, {
                    _API_KEYS: keys or {},
                    _ALERT_SECRETS: alerting,
                    _MONITORING_SECRETS: beside,
                    _SITE_TOKEN: token,
                }

    def shown(problem: Problem) -> Problem:
        says_no_value = problem.given in _NO_VALUE
        if says_no_value or not problem.path or not is_secret(f"{NAMESPACE}{problem.path[0]}"):
            return problem
        return replace(problem, given=_WITHHELD)

    raise SettingsError(name, [(layers.where(found.path), shown(found)) for found in problems])


_NO_VALUE = frozenset({"is missing", "is empty", "is given", "is no mapping", "does not exist"})


def _values(ours: Mapping[str, str], file: ConfigFile) -> tuple[dict[str, Any], list[Problem]]:
    """The stack's own settings; keys that nobody knows are among them."""
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for key in dict.fromkeys([*ours, *file.keys]):
        if key in {*_SECRETS, _CONNECTIONS}:
            continue
        text = ours.get(key)
        # Pulumi hands a null over as "", as "null" or not at all.
        if text in {None, "", "null"} and key in file.values and file.values[key] is None:
            values[key] = None
        elif text is None:
            # Misspelt ones count even where Pulumi has no value for them.
            values |= {key: ""} if key not in {*_KEYS, EXTENDS} else {}
        elif key in _PLAIN or key not in {*_KEYS, EXTENDS}:
            values[key] = text
        else:
            values[key], problem = _parsed(key, text)
            problems += [problem] if problem else []
    return values, problems


def _parsed(key: str, text: str) -> tuple[Any, Problem | None]:
    try:
        return json.loads(text), None
    except ValueError:
        kind = "a list of names" if key == EXTENDS else "a mapping"
        return {}, Problem((key,), f"is {text!r}", kind, "as in the stack files of the repository")


def _pins(directory: Path, settings: Stack) -> tuple[dict[str, Pins], list[Problem]]:
    """The pinned weights of the models that come from a hub, as far as they are there."""
    pins: dict[str, Pins] = {}
    problems: list[Problem] = []
    for key, one in settings.models.items():
        known = models().get(one.model)
        if known is None or not isinstance(known.weights, HubWeights):
            continue
        file = directory / WEIGHTS / f"{one.model}.yaml"
        path: SettingPath = ("models", key, "model")
        remedy = f"./berth weights pin {one.model}"
        try:
            found = read_pins(file)
        except FileNotFoundError:
            continue  # an open finding
        except CatalogueError as error:
            given = f"has pins that are wrong: {str(error).replace(str(directory), directory.name)}"
            problems.append(Problem(path, given, "what `berth weights pin` writes", remedy))
            continue
        if found.repo != known.weights.repo:
            given = f"has pins of {found.repo} in {WEIGHTS}/{file.name}"
            problems.append(Problem(path, given, known.weights.repo, remedy))
            continue
        pins[one.model] = found
    return pins, problems


def _api_keys(text: str | None) -> tuple[dict[str, str] | None, list[Problem]]:
    # Not Config.get_secret_object: Pulumi's error about text that is no JSON repeats it.
    if text is None:
        return None, []
    try:
        keys = json.loads(text)
    except ValueError:
        keys = None
    if isinstance(keys, dict):
        return keys, []
    return None, [Problem((_API_KEYS,), "is no mapping", "keys of clients by name", ADD_A_KEY)]


def _site_token(text: str | None) -> tuple[dict[str, str], list[Problem]]:
    """The token by its key, where it is given."""
    if text is None:
        return {}, []
    try:
        return {_SITE_TOKEN: token_check(text)}, []
    except Refusal as refusal:
        return {}, [Problem((_SITE_TOKEN,), _WITHHELD, refusal.allowed, SET_A_TOKEN)]


def _named_secrets(key: str, ours: Mapping[str, str]) -> tuple[dict[str, str], list[Problem]]:
    """Secrets by name."""
    text = ours.get(key)
    if text is None:
        return {}, []
    try:
        given = json.loads(text)
    except ValueError:
        given = None
    if isinstance(given, dict) and all(isinstance(one, str) and one for one in given.values()):
        return given, []
    return {}, [
        Problem(
            (key,),
            "is no mapping",
            "secrets as texts by name",
            f"pulumi config set --secret --path 'berth:{key}.<name>' …",
        )
    ]


def _connect(text: str | None, raw: dict[str, Any]) -> list[Problem]:
    """Lay `connections` over the sites: where the clusters are, as a machine says it that starts this."""
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
        if not isinstance(sites[key], dict):
            continue  # the settings' own types say what is wrong with it
        site = dict(sites[key])
        if "nodeAddress" in connection:
            site["nodeAddress"] = connection["nodeAddress"]
        cluster = {part: value for part, value in connection.items() if part != "nodeAddress"}
        if cluster:
            site["cluster"] = cluster
        sites[key] = site
    return problems


def _unused(stack: Stack, layers: Layers) -> list[Problem]:
    """What a stack without models says in its own file, of models; a base says it for others as well."""
    if stack.models:
        return []
    own = layers.files[-1].name
    written = [
        key for key in _KEYS if key not in _OF_CLUSTERS for one in layers.origins((key,)) if one.file == own
    ]
    remedy = "remove it, or say it in the stack that has the models"
    return [
        Problem((key,), "is said", "only of stacks with models", remedy) for key in dict.fromkeys(written)
    ]


def _once(problems: list[Problem]) -> list[Problem]:
    """Without what is missing because it is misspelt beside it."""
    meant = {
        (*found.path[:-1], found.remedy.removeprefix("did you mean '").removesuffix("'?"))
        for found in problems
        if found.given == "does not exist"
    }
    return [found for found in problems if found.given != "is missing" or found.path not in meant]


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
    for constraint in reversed(field.metadata):
        if isinstance(constraint, Allowed | Hint):
            return constraint.described
    kind = _without_none(field.annotation)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "a mapping with " + ", ".join(f.alias or name for name, f in kind.model_fields.items())
    choices = [str(choice) for choice in get_args(kind) if isinstance(choice, str)]
    if choices:
        return "one of " + ", ".join(choices)
    return "a list" if str(kind).startswith("list") else "a mapping"

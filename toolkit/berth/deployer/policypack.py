"""A policy pack on disk: its `PulumiPolicy.yaml`, its Python, and the configuration that goes with it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from .config import read_yaml
from .errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .request import PolicyPack

FILE = "PulumiPolicy.yaml"
LEVELS = ("advisory", "mandatory", "disabled", "remediate")
"""The levels in the order of their numbers in the protocol."""
_ALL = "all"  # the key of a configuration that stands for every policy


@dataclass(frozen=True)
class Definition:
    """What a pack's `PulumiPolicy.yaml` says.

    Attributes:
        folder: the pack's folder, absolute.
        version: as the file says; empty where it does not.
        python: the interpreter of its virtualenv; None where it names none.
    """

    folder: Path
    version: str = ""
    python: Path | None = None


def load_definition(pack: PolicyPack) -> Definition:
    """Read a pack's definition.

    Raises:
        ConfigError: it is missing or malformed, not for Python, or its virtualenv is not there.
    """
    folder = pack.folder.resolve()
    path = folder / FILE
    if not path.is_file():
        raise ConfigError(
            f"{path} does not exist: a policy pack is a folder with that file, of which the smallest says "
            "`runtime: python`, and a __main__.py"
        )
    document = read_yaml(path)
    runtime = document.get("runtime")
    kind = runtime.get("name") if isinstance(runtime, dict) else runtime
    if kind != "python":
        raise ConfigError(
            f"{path}: runtime is {kind!r}; only python packs run here, and those of other languages with "
            "--engine pulumi"
        )
    if not (folder / "__main__.py").is_file():
        raise ConfigError(f"{folder / '__main__.py'} does not exist: it is what makes the PolicyPack")
    options = (runtime.get("options") or {}) if isinstance(runtime, dict) else {}
    if not isinstance(options, dict):
        raise ConfigError(f"{path}: runtime.options is {options!r}; it must be a mapping")
    python = None
    if options.get("virtualenv"):
        python = folder / str(options["virtualenv"]) / "bin" / "python"
        if not python.exists():
            raise ConfigError(
                f"{path}: runtime.options.virtualenv is {options['virtualenv']!r}, and there is no {python}. "
                "Make that virtualenv with pulumi-policy in it, or name another"
            )
    return Definition(folder, str(document.get("version") or ""), python)


@dataclass
class Setting:
    """What configuration says of one policy: its level, empty where it says nothing, and its properties."""

    level: str = ""
    properties: dict[str, Any] = field(default_factory=dict)


def load_settings(path: Path) -> dict[str, Setting]:
    """Read a configuration file, as `--policy-pack-config` takes it.

    It is one JSON object: per policy, or for `all` of them, a level, or an object with `enforcementLevel`
    and the policy's own properties.

    Raises:
        ConfigError: it cannot be read, or says something else.
    """
    try:
        text = path.read_text()
        document = json.loads(text) if text.strip() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected an object at the top, found {type(document).__name__}")
    found = {}
    for policy, value in document.items():
        entry = {"enforcementLevel": value} if isinstance(value, str) else value
        if not isinstance(entry, dict):
            raise ConfigError(f"{path}: {policy}: {value!r} is neither a level nor an object")
        properties = {key: item for key, item in entry.items() if key != "enforcementLevel"}
        level = entry.get("enforcementLevel", "")
        if "enforcementLevel" in entry and level not in LEVELS:
            raise ConfigError(f"{path}: {policy}: level {level!r}; allowed are {', '.join(LEVELS)}")
        found[policy] = Setting(level, properties)
    return found


def reconcile(info: Any, given: Mapping[str, Setting], path: Path | None) -> dict[str, Setting]:
    """The settings of every policy: its own defaults, then the pack's initial configuration, then the file's.

    Args:
        info: the pack's AnalyzerInfo.
        given: what the file says.
        path: the file, for messages.

    Raises:
        ConfigError: the file names a policy that the pack does not have, or properties are not as the policy
            wants them.
    """
    where = f"{path}: " if path else ""
    names = [policy.name for policy in info.policies]
    unknown = sorted(given.keys() - {*names, _ALL})
    if unknown:
        raise ConfigError(
            f"{where}{unknown[0]!r} is no policy of the pack {info.name!r}, which has: {', '.join(names)}"
        )
    if given and not info.supportsConfig:
        raise ConfigError(f"{where}the pack {info.name!r} takes no configuration")
    # As the protocol has it, an initial configuration without a level is one with the level 0, advisory.
    initial = {
        name: Setting(LEVELS[config.enforcementLevel], json_format.MessageToDict(config.properties))
        for name, config in info.initialConfig.items()
    }
    found = {}
    for policy in info.policies:
        schema = json_format.MessageToDict(policy.configSchema.properties)
        setting = Setting(LEVELS[policy.enforcementLevel])
        setting.properties = {key: one["default"] for key, one in schema.items() if "default" in one}
        for layer in (initial, given):
            for key in (_ALL, policy.name):
                if key in layer:
                    setting.level = layer[key].level or setting.level
                    if key != _ALL:
                        setting.properties |= layer[key].properties
        _validate(policy, schema, setting, where)
        found[policy.name] = setting
    return found


def _validate(policy: Any, schema: Mapping[str, Any], setting: Setting, where: str) -> None:
    """Check a policy's properties against its own JSON schema, where there is more than its own defaults."""
    defaults = {key: one["default"] for key, one in schema.items() if "default" in one}
    if setting.properties == defaults and defaults.keys() >= set(policy.configSchema.required):
        return
    import jsonschema  # type: ignore[import-untyped] # noqa: PLC0415 - it has no types, and takes a second

    whole = {"type": "object", "properties": schema, "required": list(policy.configSchema.required)}
    try:
        jsonschema.Draft7Validator.check_schema(whole)
    except jsonschema.exceptions.SchemaError as wrong:
        raise ConfigError(f"policy {policy.name!r}: its config_schema is wrong: {wrong.message}") from None
    error = jsonschema.exceptions.best_match(
        jsonschema.Draft7Validator(whole).iter_errors(setting.properties)
    )
    if error is not None:
        at = ".".join(str(part) for part in (policy.name, *error.absolute_path))
        raise ConfigError(f"{where}{at}: {error.message}")

"""A JSON Schema of stack files and bases, for editors, from the settings, their docstrings and the catalogue.

It says less than the program checks: types, words, limits of single values and what must be there, not what
must fit together. A file that extends bases needs less in it, and may set anything to null.
"""

import copy
import itertools
import json
import re
from typing import Any

from berth_catalogue.accelerators import accelerators
from berth_catalogue.engines import engines
from berth_catalogue.machines import machines
from berth_catalogue.models import models
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from berth_stacks.descriptions import described, fields_of, group_of
from berth_stacks.fields import Json
from berth_stacks.lines import NAMESPACE
from berth_stacks.pools import GROUNDS
from berth_stacks.settings import Stack

FILE = "schema.json"
SITE_KEY = "[a-z]([-a-z0-9]{0,18}[a-z0-9])?"
MODEL_KEY = "[a-z]([-a-z0-9]{0,38}[a-z0-9])?"
_PARTIAL = ".partial"
_EXTENDS = f"{NAMESPACE}extends"


def schema() -> Json:
    """The schema of `stacks/Pulumi.<stack>.yaml` and of `stacks/bases/<name>.yaml`."""
    made = Stack.model_json_schema(by_alias=True, schema_generator=_Generator)
    groups: dict[str, Json] = {"Stack": {key: made[key] for key in made if key != "$defs"}, **made["$defs"]}
    for group in _groups(Stack):
        _describe(groups[group.__name__], group)
    for group_name, field, known in (
        ("Pool", "accelerator", accelerators()),
        ("SageMaker", "accelerator", accelerators()),
        ("Engine", "name", engines()),
        ("Model", "model", models()),
    ):
        groups[group_name]["properties"][field]["enum"] = sorted(known)
    groups["Pool"]["properties"]["machineType"]["enum"] = sorted({*machines("aws"), *machines("gcp")})
    groups["Model"]["properties"]["sites"] |= {"minItems": 1, "uniqueItems": True}
    for key, pattern in (("sites", SITE_KEY), ("models", MODEL_KEY)):
        groups["Stack"]["properties"][key]["propertyNames"] = {"pattern": f"^({pattern})$"}
    groups["Site"]["allOf"] = [{"not": {"required": [*pair]}} for pair in itertools.combinations(GROUNDS, 2)]
    for made_group in groups.values():
        properties = made_group["properties"]
        made_group["properties"] = {key: _without_null(value) for key, value in properties.items()}
    whole = {name: _keyed(group) if name == "Stack" else group for name, group in groups.items()}
    partial = {f"{name}{_PARTIAL}": _partly(copy.deepcopy(group)) for name, group in whole.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A stack of Berth, or a base that stacks extend",
        "type": "object",
        "required": ["config"],
        "properties": {
            "config": {
                # A base, or a stack on one, says only a part.
                "if": {
                    "required": [f"{NAMESPACE}environment", f"{NAMESPACE}sites"],
                    "not": {"required": [_EXTENDS]},
                },
                "then": {"$ref": "#/$defs/Stack"},
                "else": {"$ref": f"#/$defs/Stack{_PARTIAL}"},
            },
            "encryptionsalt": {"type": "string", "description": "Pulumi's, for secrets by passphrase."},
            "encryptedkey": {"type": "string", "description": "Pulumi's, for secrets by a cloud's key."},
            "secretsprovider": {"type": "string", "description": "Pulumi's: who keeps the secrets."},
            "environment": {"description": "Pulumi's: environments of Pulumi ESC."},
        },
        "$defs": dict(sorted({**whole, **partial}.items())),
    }


def text() -> str:
    """The schema as it is in `stacks/schema.json`, the same bytes for the same settings."""
    made = schema()
    groups = [
        f"  {json.dumps(name)}: {json.dumps(one, ensure_ascii=False)}" for name, one in made["$defs"].items()
    ]
    head = json.dumps({key: value for key, value in made.items() if key != "$defs"}, indent=1)
    # One line for each group, so that a difference shows which.
    return head.removesuffix("\n}") + ',\n "$defs": {\n' + ",\n".join(groups) + "\n }\n}\n"


class _Generator(GenerateJsonSchema):
    """Leaves out the defaults of groups, which would repeat what is in them."""

    def default_schema(self, schema: Any) -> Json:
        """Keep the defaults of plain values only."""
        if isinstance(schema.get("default"), BaseModel):
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)


def _groups(group: type[BaseModel]) -> list[type[BaseModel]]:
    found = [group]
    for field in fields_of(group).values():
        inner, _ = group_of(field.annotation)
        found += [one for one in _groups(inner) if one not in found] if inner else []
    return found


def _describe(made: Json, group: type[BaseModel]) -> None:
    for key, words in described(group).items():
        made["properties"][key]["description"] = words
    for key, field in made["properties"].items():
        field["title"] = re.sub(r"(?<=[a-z0-9])([A-Z])", lambda found: f" {found[1].lower()}", key)


def _without_null(field: Json) -> Json:
    """A field without `null`, which is its absence; a reference keeps its description beside it."""
    options = [one for one in field.get("anyOf", []) if one != {"type": "null"}]
    rest = {key: value for key, value in field.items() if key not in {"anyOf", "default"}}
    default = {} if field.get("default") is None else {"default": field["default"]}
    return {**options[0], **rest, **default} if len(options) == 1 else {**field, **default}


def _keyed(stack: Json) -> Json:
    """The settings by their config keys, and what stands beside them."""
    keyed = {f"{NAMESPACE}{key}": value for key, value in stack["properties"].items()}
    keyed[_EXTENDS] = {
        "type": "array",
        "items": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"},
        "description": "Bases below this file: bases/<name>.yaml, a later one over an earlier one.",
    }
    keyed[f"{NAMESPACE}apiKeys"] = {
        "type": "object",
        "description": "API keys of clients by name; set them with `pulumi config set --secret`.",
    }
    keyed[f"{NAMESPACE}alertSecrets"] = {
        "type": "object",
        "description": "Secrets of receivers by name; set them with `pulumi config set --secret`.",
    }
    keyed[f"{NAMESPACE}monitoringSecrets"] = {
        "type": "object",
        "description": "Grafana's password as `grafana`, tokens as `remoteWrite` and `collector`; secret.",
    }
    keyed[f"{NAMESPACE}siteToken"] = {
        "type": "string",
        "description": "What hybrid controllers show to their sites; secret. Default: made from apiKeys.",
    }
    keyed[f"{NAMESPACE}connections"] = {
        "type": "object",
        "description": "How clusters are reached, by site, where a machine writes it.",
    }
    return {
        **stack,
        "properties": keyed,
        "required": [f"{NAMESPACE}{key}" for key in stack["required"]],
        # Other namespaces are other packages' configuration.
        "additionalProperties": True,
        "propertyNames": {"anyOf": [{"enum": sorted(keyed)}, {"not": {"pattern": f"^({NAMESPACE}|[^:]*$)"}}]},
    }


def _partly(group: Json) -> Json:
    """The same with nothing required, and anything nullable: null removes what a base says."""
    group.pop("required", None)
    for key, value in group.get("properties", {}).items():
        group["properties"][key] = {
            "anyOf": [_renamed({k: v for k, v in value.items() if k != "description"}), {"type": "null"}],
            **({"description": value["description"]} if "description" in value else {}),
        }
    return group


def _renamed(value: Any) -> Any:
    """With references to groups that need nothing either; items of lists stay whole, since lists replace."""
    if isinstance(value, dict):
        return {
            key: f"{inner}{_PARTIAL}" if key == "$ref" else inner if key == "items" else _renamed(inner)
            for key, inner in value.items()
        }
    return [_renamed(one) for one in value] if isinstance(value, list) else value

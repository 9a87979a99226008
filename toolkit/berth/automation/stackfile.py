"""The stack's file for one run: the user's own, or a private copy with what only this run knows.

The CLI reads a run's configuration from one file (`--config-file`) and has no flag for values that are not
kept. So an overlay goes into a copy in a folder that only this user can read; the user's file is never
written. Plain values are put in as YAML; secret ones are encrypted by the CLI itself (`config set --secret`
with the value on standard input), so that any secrets provider works and none stands on a command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from berth.deployer import ConfigError, load_config, load_project

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from berth.deployer import RunRequest

_STRING = "tag:yaml.org,2002:str"


def root_of(request: RunRequest) -> Path:
    """The project's folder.

    Raises:
        ConfigError: there is no `Pulumi.yaml`, or it is another project's.
    """
    program = request.program.resolve()
    start = request.root.resolve() if request.root else program if program.is_dir() else program.parent
    folder = next((place for place in (start, *start.parents) if (place / "Pulumi.yaml").exists()), None)
    if folder is None:
        raise ConfigError(f"{program}: the Pulumi CLI needs a project, and there is no Pulumi.yaml above it")
    name = load_project(folder).name
    if name != request.project:
        raise ConfigError(
            f"{folder / 'Pulumi.yaml'}: its name is {name!r}, but {request.project!r} is to run"
        )
    return folder


def whole_config(request: RunRequest) -> dict[str, str]:
    """The request's values over the stack's file, as far as that can be opened here."""
    return {**_in_file(request), **request.config}


def overlay_of(request: RunRequest) -> dict[str, str]:
    """The values of a request that the stack's file does not have, by full key.

    Where the file's own secrets cannot be opened here (a cloud's key service keeps them), every value that
    was handed in counts: hand in only those that are not in the file.
    """
    known = _in_file(request)
    return {key: value for key, value in request.config.items() if known.get(key) != value}


def _in_file(request: RunRequest) -> Mapping[str, str]:
    try:
        return load_config(root_of(request), request.stack)[0]
    except ConfigError:
        return {}


def private_copy(request: RunRequest, root: Path, values: Mapping[str, str], folder: Path) -> Path:
    """Write a copy of the stack's file into `folder` with `values`, none of them secret, laid over it."""
    original = load_project(root).stack_folder / f"Pulumi.{request.stack}.yaml"
    try:
        text = original.read_text() if original.exists() else ""
        document = yaml.compose(text, Loader=yaml.SafeLoader)
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{original}: cannot be read as YAML: {' '.join(str(error).split())}") from None
    if document is None:
        document = yaml.MappingNode("tag:yaml.org,2002:map", [])
    if not isinstance(document, yaml.MappingNode):
        raise ConfigError(f"{original}: expected a mapping at the top")
    _lay_over(_section(document, original), values, request.project)
    copy = folder / original.name
    copy.touch(mode=0o600)
    # Serialised node by node, so that every scalar keeps the text that the CLI would have read.
    copy.write_text(yaml.serialize(document, Dumper=yaml.SafeDumper))
    return copy


def _section(document: yaml.MappingNode, path: Path) -> yaml.MappingNode:
    for index, (key, value) in enumerate(document.value):
        if key.value != "config":
            continue
        if isinstance(value, yaml.ScalarNode) and value.value in {"", "~", "null"}:
            document.value[index] = (key, yaml.MappingNode("tag:yaml.org,2002:map", []))
        elif not isinstance(value, yaml.MappingNode):
            raise ConfigError(f"{path}: `config` is no mapping")
        found: yaml.MappingNode = document.value[index][1]
        return found
    section = yaml.MappingNode("tag:yaml.org,2002:map", [])
    document.value.append((yaml.ScalarNode(_STRING, "config"), section))
    return section


def _lay_over(section: yaml.MappingNode, values: Mapping[str, str], project: str) -> None:
    section.flow_style = False
    section.value = [
        (key, value)
        for key, value in section.value
        if (key.value if ":" in key.value else f"{project}:{key.value}") not in values
    ]
    for key, text in values.items():
        # Always a string: that is what a program gets from either engine, JSON for objects.
        entry = yaml.ScalarNode(_STRING, text, style='"')
        section.value.append((yaml.ScalarNode(_STRING, key, style='"'), entry))

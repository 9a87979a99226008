"""What a preview is told instead of asking: answers of providers' functions, outputs of other stacks.

The file `recorded.yaml` beside the stacks' files holds it for every stack, `recorded.<stack>.yaml` for one:

```yaml
invokes:                    # the first whose token matches and whose args all equal the call's
  - token: aws:index/getAvailabilityZones:getAvailabilityZones
    args: {state: available}
    result: {names: [eu-west-1a, eu-west-1b], zoneIds: [euw1-az1, euw1-az2]}
stacks:                     # by stack, project/stack or organization/project/stack
  network/prod:
    outputs: {vpcId: vpc-1, token: hidden}
    secretOutputNames: [token]
```

It is read by previews only: an `up` asks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .config import load_project, read_yaml
from .errors import ConfigError
from .values import Secret, plain

if TYPE_CHECKING:
    from pathlib import Path

_TOKEN = re.compile(r"[\w.-]+:[\w./-]*:[\w.-]+")
_INVOKE_KEYS = frozenset({"token", "args", "result"})
_STACK_KEYS = frozenset({"outputs", "secretOutputNames"})


@dataclass(frozen=True)
class Recorded:
    """Recorded answers.

    Attributes:
        invokes: mappings with `token`, `args` (none: any call of that function) and `result`.
        stacks: per stack's name, a mapping with `outputs` and `secretOutputNames`.

    Raises:
        ConfigError: an entry is malformed.
    """

    invokes: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    stacks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for index, entry in enumerate(self.invokes):
            _check(entry, f"invokes[{index}]", _INVOKE_KEYS, needs={"token", "result"})
            if not _TOKEN.fullmatch(str(entry["token"])):
                raise ConfigError(
                    f"recorded data: invokes[{index}].token {entry['token']!r} is no function's token; "
                    "write it as aws:index/getAvailabilityZones:getAvailabilityZones"
                )
        for name, entry in self.stacks.items():
            _check(entry, f"stacks[{name!r}]", _STACK_KEYS, needs={"outputs"})

    def answer(self, token: str, args: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The recorded result of a call, or None."""
        given = plain(args)
        for entry in self.invokes:
            wanted = entry.get("args") or {}
            if entry["token"] == token and all(given.get(key) == value for key, value in wanted.items()):
                result: Mapping[str, Any] = entry["result"]
                return result
        return None

    def outputs(self, organization: str, project: str, name: str) -> dict[str, Any] | None:
        """The recorded outputs of the stack that a reference names, or None.

        Args:
            organization: the one that a name without any means.
            project: the same for the project.
            name: as the reference has it.
        """
        wanted = _full_name(name, organization, project)
        for key, entry in self.stacks.items():
            if _full_name(key, organization, project) == wanted:
                secret = set(entry.get("secretOutputNames") or ())
                return {k: Secret(v) if k in secret else v for k, v in entry["outputs"].items()}
        return None


def _full_name(name: str, organization: str, project: str) -> tuple[str, ...]:
    parts = name.split("/")
    return (*(organization, project)[: max(0, 3 - len(parts))], *parts)


def _check(entry: object, where: str, allowed: frozenset[str], needs: set[str]) -> None:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"recorded data: {where} is no mapping with {', '.join(sorted(allowed))}")
    odd, missing = sorted(set(entry) - allowed), sorted(needs - set(entry))
    if odd or missing:
        what = f"{odd[0]!r} is not known" if odd else f"`{missing[0]}` is missing"
        raise ConfigError(f"recorded data: {where}: {what}; allowed are {', '.join(sorted(allowed))}")
    for key in needs - {"token"} | ({"args"} & set(entry)):
        if not isinstance(entry[key] or {}, Mapping):
            raise ConfigError(f"recorded data: {where}.{key} is no mapping: {entry[key]!r}")


def load_recorded(project_dir: Path, stack: str) -> Recorded:
    """What is recorded for a stack; nothing where there is no file. A stack's own file goes first.

    Raises:
        ConfigError: a file is malformed.
    """
    folder = load_project(project_dir).stack_folder
    invokes: list[Any] = []
    stacks: dict[str, Any] = {}
    for path in (folder / f"recorded.{stack}.yaml", folder / "recorded.yaml"):
        if not path.exists():
            continue
        document = read_yaml(path)
        if odd := sorted(set(document) - {"invokes", "stacks"}):
            raise ConfigError(f"{path}: {odd[0]!r} is not known; allowed are invokes and stacks")
        found, named = document.get("invokes") or [], document.get("stacks") or {}
        if not isinstance(found, list) or not isinstance(named, dict):
            raise ConfigError(f"{path}: `invokes` is a list, `stacks` a mapping")
        try:
            Recorded(tuple(found), named)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None
        invokes += found
        stacks = {**named, **stacks}
    return Recorded(tuple(invokes), stacks)

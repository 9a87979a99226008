"""Secrets are in Secrets."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pulumi_policy.proxy import UnknownValueError

from berth_policy.checks import Said, of_each, of_stack
from berth_policy.kubernetes import KUBERNETES, Container, Pod, objects
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Stack, mapping, sequence, survey, title_of

_NAME = re.compile(
    r"(?:^|_)(?:TOKEN|PASSWORD|PASSWD|PASSPHRASE|SECRET|CREDENTIALS?|API_?KEY|ACCESS_KEY|PRIVATE_KEY)$",
    re.IGNORECASE,
)
_VALUE = re.compile(
    r"^(?:hf_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{30,}|sk-[A-Za-z0-9_-]{20,}"
    r"|xox[abp]-[A-Za-z0-9-]{10,}|-----BEGIN [A-Z ]*PRIVATE KEY)"
)
_ARGUMENT = re.compile(r"--(?:hf-token|api-key|hub-token|token|password)(?:=(.+))?", re.IGNORECASE)
WANTED = "valueFrom.secretKeyRef, or a file of a Secret"


def look(_pod: Pod, container: Container) -> Iterator[Said]:
    """Look at a container's variables and arguments; never tell a value."""
    for number, entry in enumerate(sequence(container.body.get("env"))):
        name = str(mapping(entry).get("name"))
        path = f"{container.path}.env[{number}]"
        if (_NAME.search(name) and mapping(entry).get("value")) or _is_secret(mapping(entry), "value"):
            yield f"{path} ({name}) holds a secret in clear", WANTED
    for part in ("command", "args"):
        words = [str(word) for word in sequence(container.body.get(part))]
        for number, word in enumerate(words):
            found = _ARGUMENT.fullmatch(word)
            given = found and (found[1] or (words[number + 1] if number + 1 < len(words) else ""))
            if (given and not given.startswith("$(")) or _VALUE.match(word):
                yield f"{container.path}.{part}[{number}] gives a secret in clear", WANTED


def _is_secret(holder: Mapping[str, Any], key: str) -> bool:
    """Whether a value looks like a token; one that a preview does not know is nobody's literal."""
    try:
        return bool(_VALUE.match(str(holder.get(key) or "")))
    except UnknownValueError:
        return False


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each container, and at each ConfigMap."""
    yield from of_stack(of_each(look), agents=True)(stack)
    for resource in stack.of("kubernetes:core/"):
        for one in objects(resource):
            if one.kind == "ConfigMap":
                data = mapping(one.body.get("data"))
                keys = (key for key in data if _NAME.search(key) or _is_secret(data, key))
                yield from survey(
                    keys,
                    lambda key, one=one: [  # type: ignore[misc]
                        Finding(f"{one.path}data.{key} of a ConfigMap is a secret", "a Secret", one.resource)
                    ],
                    lambda _, one=one: title_of(one.resource),  # type: ignore[misc]
                )


RULE = Rule(
    name="secrets-not-in-clear",
    group="identity",
    title="Tokens, keys and passwords are in Secrets.",
    why="Whoever may read a Deployment or a ConfigMap reads them, and so does every log of the API server.",
    fix="Put it into a Secret and refer to it by secretKeyRef or as a file.",
    types=KUBERNETES,
    answers=("CIS Kubernetes 2.0.1 5.4.1", "CKV_K8S_35"),
    check_stack=check,
)

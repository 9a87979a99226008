"""The server in SageMaker's container is as closed as the one in a pod."""

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from berth_policy.aws.sagemaker_images import containers
from berth_policy.reading import has, on, said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, mapping, sequence, survey
from berth_policy.supply_chain import engines_silent

_COMMAND = "BERTH_ENGINE_COMMAND"
_HOST = "--host"
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_REMOTE_CODE = ("--trust-remote-code", "--trust_remote_code")
_REVISION = re.compile(r"[0-9a-f]{40}|sha256:[0-9a-f]{64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_DIGESTS = ("BERTH_WEIGHTS_SHA256", "BERTH_WEIGHTS_MANIFEST_SHA256")
# Listens on loopback whatever it is told, and knows no hub.
_LLAMA_CPP = ["python3", "-m", "berth_serving.engines.llama_cpp"]


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the environment of each container that runs our server."""
    yield from survey(containers(resource), _container)


def _container(place: tuple[str, Any]) -> Iterator[Finding]:
    where, container = place
    told = mapping(container.get("environment")) if has(container, "environment") else {}
    if not any(str(key).startswith("BERTH_") for key in told):
        return
    path = f"{where}.environment"
    if on(told.get("BERTH_ALLOW_ANONYMOUS")):
        yield Finding(f"{path}.BERTH_ALLOW_ANONYMOUS is true", "false")
    revision = told.get("BERTH_MODEL_REVISION")
    if not _REVISION.fullmatch(str(revision)):
        allowed = "a commit of 40 hexadecimal digits, or sha256:<digest>"
        yield Finding(f"{path}.BERTH_MODEL_REVISION is {said(revision)}", allowed)
    digests = [str(told[key]) for key in _DIGESTS if key in told]
    if not digests or not all(map(_DIGEST.fullmatch, digests)):
        yield Finding(
            f"{path}.{' and '.join(_DIGESTS)} are {said(digests or None)}",
            "the digest of the weights, or of their manifest",
        )
    words = _words(told)
    if not words:
        yield Finding(f"{path}.{_COMMAND} is no list of words", "the engine's command, as JSON")
        return
    if words != _LLAMA_CPP:
        yield from _engine(path, told, words)
    address = str(told.get("BERTH_ENGINE_URL") or "")
    if not re.match(r"http://(127\.0\.0\.1|localhost|\[::1\]):\d+$", address):
        yield Finding(f"{path}.BERTH_ENGINE_URL is {said(address or None)}", "the engine on loopback")


def _words(told: Mapping[str, Any]) -> list[str]:
    try:
        return [str(one) for one in sequence(json.loads(str(told.get(_COMMAND) or "null")))]
    except ValueError:
        return []


def _engine(path: str, told: Mapping[str, Any], words: list[str]) -> Iterator[Finding]:
    for key in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if told.get(key) != "1":
            yield Finding(f"{path}.{key} is {said(told.get(key))}", "'1'")
    hosts = [after for word, after in itertools.pairwise(words) if word == _HOST]
    if not hosts or any(one not in _LOOPBACK for one in hosts):
        yield Finding(f"{path}.{_COMMAND} binds {said(hosts or None)}", f"{_HOST} 127.0.0.1")
    if any("vllm" in word for word in words):
        for key, wanted in engines_silent.WANTED.items():
            if told.get(key) != wanted:
                yield Finding(f"{path}.{key} is {said(told.get(key))}", repr(wanted))
    if any(word.startswith(_REMOTE_CODE) for word in words):
        yield Finding(f"{path}.{_COMMAND} lets the model's own code run", "no --trust-remote-code")


RULE = Rule(
    name="sagemaker-containers",
    group="aws",
    title="Our server in SageMaker knows a pinned, verified model only, and its engine listens on loopback.",
    why="An engine that others reach answers them without limits; a model that is fetched anew may be "
    "another one.",
    fix="Leave these variables to SageMakerEndpoint.",
    types=("aws:sagemaker/model:",),
    check=check,
)

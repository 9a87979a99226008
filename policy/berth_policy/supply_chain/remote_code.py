"""A model is data."""

from collections.abc import Iterator

from berth_policy.kubernetes import KUBERNETES
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Stack, survey
from berth_policy.supply_chain._engines import Server, containers

ARGUMENTS = ("--trust-remote-code", "--trust_remote_code", "--trust-repo")
VARIABLES = (
    "TRUST_REMOTE_CODE",
    "HF_TRUST_REMOTE_CODE",
    "VLLM_TRUST_REMOTE_CODE",
    "OPTION_TRUST_REMOTE_CODE",
)
_OFF = ("", "0", "false", "no", "off")


def check(stack: Stack) -> Iterator[Finding]:
    """Look at the arguments and variables of every container."""
    yield from survey(containers(stack), _look)


def _look(one: Server) -> Iterator[Finding]:
    resource = one.pod.object.resource
    for word in ARGUMENTS:
        if word in one.words and one.after(word).lower() not in _OFF[1:]:
            yield Finding(f"{one.container.path} has the argument {word}", "no such argument", resource)
    for name in VARIABLES:
        if one.variables.get(name, "").lower() not in _OFF:
            yield Finding(f"{one.container.path} has the variable {name}", "false or absent", resource)


RULE = Rule(
    name="models-remote-code",
    group="supply_chain",
    title="No engine runs code that comes with a model.",
    why="Whoever may change the model's repository runs a program beside your clients' prompts.",
    fix="Remove the switch; use a model whose architecture the engine knows.",
    types=KUBERNETES,
    check_stack=check,
)

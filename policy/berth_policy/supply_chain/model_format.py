"""Weights are in a format that holds no program."""

from collections.abc import Iterator

from berth_policy.kubernetes import KUBERNETES
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Stack, survey
from berth_policy.supply_chain._engines import Server, containers

UNSAFE_ENDINGS = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".keras", ".npz", ".joblib")
SAFE_LOADERS = (
    *("auto", "safetensors", "fastsafetensors", "gguf", "runai_streamer", "runai_streamer_sharded"),
    *("sharded_state", "tensorizer", "bitsandbytes", "mistral", "dummy"),
)
WANTED = "safetensors or GGUF"
_WEIGHTS = ("BERTH_WEIGHTS", "MODEL_PATH", "LLAMA_ARG_MODEL")


def check(stack: Stack) -> Iterator[Finding]:
    """Look at what every container is told to load."""
    yield from survey(containers(stack), _look)


def _look(one: Server) -> Iterator[Finding]:
    path, resource = one.container.path, one.pod.object.resource
    loader = one.after("--load-format")
    if loader and loader not in SAFE_LOADERS:
        yield Finding(f"{path} has --load-format {loader}", WANTED, resource)
    named = [one.after("--model", "-m", "--model-path", "serve")]
    named += [one.variables.get(name, "") for name in _WEIGHTS]
    for word in named:
        if word.lower().endswith(UNSAFE_ENDINGS):
            yield Finding(f"{path} loads {word}, which may be a pickle", WANTED, resource)


RULE = Rule(
    name="models-format",
    group="supply_chain",
    title="Weights are safetensors or GGUF.",
    why="A pickle is a program that runs when it is loaded.",
    fix="Convert the weights to safetensors, or take a repository that has them.",
    types=KUBERNETES,
    check_stack=check,
)

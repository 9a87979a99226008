"""The proof on a real cluster: a burst, a pending pod, a new node, and the way back."""

from .measured import BACK, LINKS, Burst, numbers, spread, usual_chain
from .nodes import NodeAutoscaler, NodeProvider
from .picture import picture
from .run import Ground, Measured, Wanted, prove_really
from .workload import POOL, Workload, workload

__all__ = [
    "BACK",
    "LINKS",
    "POOL",
    "Burst",
    "Ground",
    "Measured",
    "NodeAutoscaler",
    "NodeProvider",
    "Wanted",
    "Workload",
    "numbers",
    "picture",
    "prove_really",
    "spread",
    "usual_chain",
    "workload",
]

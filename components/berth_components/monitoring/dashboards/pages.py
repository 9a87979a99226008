"""All pages, in the order of their use."""

from __future__ import annotations

from .autoscaling import AUTOSCALING
from .cost import COST
from .environment import ENVIRONMENT
from .fleet import FLEET
from .gpu_nodes import GPU_NODES
from .model_server import MODEL_SERVER
from .rollout import ROLLOUT
from .safety import SAFETY
from .sites import SITES

PAGES = (FLEET, ENVIRONMENT, MODEL_SERVER, GPU_NODES, AUTOSCALING, COST, SAFETY, ROLLOUT, SITES)

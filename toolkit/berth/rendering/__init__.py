"""Writes a stack as files for who deploys without Berth: plain YAML, or a Helm chart.

Pure functions from a preview's report to files: `collect`, then `plain` or `helm`, then `write`. No secret is
written, only a reference to it; what cannot be written is named.
"""

from .chart import Chart, helm
from .collect import Collected, Item, LeftOut, collect
from .errors import RenderError
from .files import check, write
from .plain import plain
from .secrets import STORE_KINDS, Needed, Secrets, refer

__all__ = [
    "STORE_KINDS",
    "Chart",
    "Collected",
    "Item",
    "LeftOut",
    "Needed",
    "RenderError",
    "Secrets",
    "check",
    "collect",
    "helm",
    "plain",
    "refer",
    "write",
]

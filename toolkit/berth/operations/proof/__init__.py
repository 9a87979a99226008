"""The proof that a scale path works: from a metric to a new node, statically and on a real cluster.

proof = prove("aws-prod", resources, facts)
proof.exit_code  # 0 passed, 1 failed, 3 only unknown
"""

from .facts import UNKNOWN, Facts, Figure, Quota, Resource
from .page import page
from .prove import prove
from .verdicts import Chain, Finding, Link, Proof

__all__ = [
    "UNKNOWN",
    "Chain",
    "Facts",
    "Figure",
    "Finding",
    "Link",
    "Proof",
    "Quota",
    "Resource",
    "page",
    "prove",
]

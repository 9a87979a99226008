"""The faults that a drill knows: what is done, and what must hold all the same."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: as people type it.
        text: what is done to the site.
        moves: the site is gone, so others must answer within `FAILOVER_SECONDS`.
        ends_in_order: nothing of what was begun may be cut either.
        hides: only the site's numbers are gone, so no load may move because of them.
        slows: the site answers, slower: load must leave it.
        by_api: done through the Kubernetes API alone, so possible on any cluster.
    """

    name: str
    text: str
    moves: bool = False
    ends_in_order: bool = False
    hides: bool = False
    slows: bool = False
    by_api: bool = False


FAILOVER_SECONDS = 5.0
"""What is aimed at: from the loss of a site to the first of an unbroken run of answers from elsewhere."""

FAULTS = {
    one.name: one
    for one in (
        Fault("lose-site", "its nodes lose their network and are frozen", moves=True),
        Fault("lose-pool", "the nodes of its pool are drained and removed", moves=True, ends_in_order=True),
        Fault("lose-metrics", "its reporter is scaled to 0", hides=True, by_api=True),
        Fault("slow-site", "its engines get a tenth of their processor time", slows=True),
    )
}

"""What runs of a stack, at which release, how loaded, what fires, and what it costs now.

seen = await look(…)                                    # berth.operations.diagnosis
report = status(seen, rates=…)                           # pure
print(page(report))                                      # 80 columns
"""

from berth.operations.status.facts import Autoscaling, Cost, Load, Machines, NodeGroup, Server, SiteStatus
from berth.operations.status.page import page
from berth.operations.status.summary import status

__all__ = [
    "Autoscaling",
    "Cost",
    "Load",
    "Machines",
    "NodeGroup",
    "Server",
    "SiteStatus",
    "page",
    "status",
]

"""Drills: a fault for real, under load, watched until everything is as before.

drilled = await drill(ground, DrillSettings(fault="lose-site", site="home"), lever)
print(page(drilled))
"""

from berth.operations.drill.faults import FAILOVER_SECONDS, FAULTS, Fault
from berth.operations.drill.ground import DrilledSite, Ground, Objectives, Residency
from berth.operations.drill.picture import picture
from berth.operations.drill.report import Drilled, markdown, page
from berth.operations.drill.run import Lever, drill
from berth.operations.drill.settings import DrillSettings

__all__ = [
    "FAILOVER_SECONDS",
    "FAULTS",
    "DrillSettings",
    "Drilled",
    "DrilledSite",
    "Fault",
    "Ground",
    "Lever",
    "Objectives",
    "Residency",
    "drill",
    "markdown",
    "page",
    "picture",
]

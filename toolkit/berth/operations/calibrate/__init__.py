"""What one replica of a model does at each concurrency, measured on a live endpoint.

found = await calibrate(CalibrationSettings(endpoint="http://…", key="…", levels=(1, 2, 4)), print)
found.levels[0].tokens_per_second  # (low, expected, high) over the repeats
"""

from berth.operations.calibrate.measure import Calibrated, CalibrationProgress, MeasuredLevel, calibrate
from berth.operations.calibrate.pods import Replicas, replicas_of
from berth.operations.calibrate.settings import CalibrationSettings, lengthened

__all__ = [
    "Calibrated",
    "CalibrationProgress",
    "CalibrationSettings",
    "MeasuredLevel",
    "Replicas",
    "calibrate",
    "lengthened",
    "replicas_of",
]

"""Other people's judges over the objects that stacks would make: they know none of our rules.

    manifests = manifests_of(report.to_json())
    verdict = judge_pods(manifests, read_exceptions(file), judge_program())

The reference Pod Security evaluator, the strict schemas of three Kubernetes versions, checkov, and cyclonus'
model of NetworkPolicy. None needs a cluster, an account or, once installed, the network.
"""

from .checkov import judge_by_checkov
from .connections import (
    OUTSIDE,
    Connection,
    Expected,
    allowed_connections,
    by_place,
    judge_connections,
    read_expected,
    write_expected,
)
from .errors import JudgeError, JudgeFailedError
from .exceptions import Excepted, Exceptions, read_exceptions
from .manifests import Manifest, PodTemplate, manifests_of, pod_templates
from .podsecurity import Fixture, PodVerdict, fixtures, judge_pods, reference
from .program import judge_program
from .schemas import judge_by_schemas
from .verdict import Finding, Verdict

__all__ = [
    "OUTSIDE",
    "Connection",
    "Excepted",
    "Exceptions",
    "Expected",
    "Finding",
    "Fixture",
    "JudgeError",
    "JudgeFailedError",
    "Manifest",
    "PodTemplate",
    "PodVerdict",
    "Verdict",
    "allowed_connections",
    "by_place",
    "fixtures",
    "judge_by_checkov",
    "judge_by_schemas",
    "judge_connections",
    "judge_pods",
    "judge_program",
    "manifests_of",
    "pod_templates",
    "read_exceptions",
    "read_expected",
    "reference",
    "write_expected",
]

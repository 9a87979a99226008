"""What a change does to every stack, on one page: two sets of plans in, a review out.

Everything here is a pure function of reports. `stacks` makes the reviews of single stacks, and the rest turns
a `Review` into a comment (Markdown), a page (HTML), JSON, SARIF and JUnit.
"""

from __future__ import annotations

from .documents import as_json, as_junit, as_sarif, to_text
from .exceptions import ExceptionsError, changed_exceptions
from .exports import Deployed, ExportError, read_export
from .markdown import LIMIT, MARK, comment
from .model import Review, StackReview
from .stacks import gone_stack, live, new_stack, plan_against_plan, plan_against_state
from .terminal import summary
from .webpage import page

__all__ = [
    "LIMIT",
    "MARK",
    "Deployed",
    "ExceptionsError",
    "ExportError",
    "Review",
    "StackReview",
    "as_json",
    "as_junit",
    "as_sarif",
    "changed_exceptions",
    "comment",
    "gone_stack",
    "live",
    "new_stack",
    "page",
    "plan_against_plan",
    "plan_against_state",
    "read_export",
    "summary",
    "to_text",
]

"""What whoever deploys a stack must be allowed to do, derived from its plan.

`derive` takes the report of a preview and gives `Permissions`: statements for an AWS IAM policy, a custom
role for Google Cloud, RBAC rules for clusters; and `unknown`, what no plan can tell. It needs no account.
What each type of resource needs is data with sources (`data/`); nothing here was tried on a cloud.
"""

from __future__ import annotations

from .derive import Permissions, derive
from .render import aws_policies, custom_role, rbac_manifests, text

__all__ = ["Permissions", "aws_policies", "custom_role", "derive", "rbac_manifests", "text"]

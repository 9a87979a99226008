"""The permissions of one service account."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def test_one_service_account_gets_what_is_named(make: Callable[..., Any]) -> None:
    planned = make(
        "EksWorkloadIdentity",
        {
            "statements": [
                {"actions": ["s3:GetObject"], "resources": ["arn:aws:s3:::weights/models/*"]},
                {
                    "actions": ["s3:ListBucket"],
                    "resources": ["arn:aws:s3:::weights"],
                    "conditions": {"StringLike": {"s3:prefix": ["models/*"]}},
                },
            ]
        },
    )
    assert planned.statements("berth-policy") == [
        {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::weights/models/*"]},
        {
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": ["arn:aws:s3:::weights"],
            "Condition": {"StringLike": {"s3:prefix": ["models/*"]}},
        },
    ]
    association = planned.one("PodIdentityAssociation")
    assert association == {
        "clusterName": "berth",
        "namespace": "room",
        "serviceAccount": "chat",
        "roleArn": "arn:aws:iam::111122223333:role/berth-role",
        "tags": {},
    }
    (trust,) = json.loads(planned.one("iam/role:Role")["assumeRolePolicy"])["Statement"]
    assert trust["Action"] == ["sts:AssumeRole", "sts:TagSession"]
    assert trust["Condition"]["StringEquals"]["aws:RequestTag/kubernetes-service-account"] == "chat"
    assert not planned.of("RolePolicyAttachment")

"""What says how a machine of EC2 starts."""

TYPES = (
    "aws:ec2/launchTemplate:",
    "aws:ec2/launchConfiguration:",
    "aws:ec2/instance:",
    "aws:ec2/spotInstanceRequest:",
)
"""Beginnings of type tokens."""

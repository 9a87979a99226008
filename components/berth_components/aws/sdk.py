"""The SDK's ec2 module, which warns of its own deprecated parts while it is imported.

Nobody who uses these components could do anything about it, and a program that treats warnings as errors
(as our tests do) would not start.
"""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from pulumi_aws import ec2

    # The SDK loads a module when it is first used.
    VPC_TYPE = ec2.Vpc.__name__

__all__ = ["ec2"]

"""What a person can get wrong, or a machine can lack.

JudgeError
└── JudgeFailedError    a judge did not run, or did not read what it was given
"""


class JudgeError(Exception):
    """A file of ours or an object is wrong: the message is the whole story."""


class JudgeFailedError(JudgeError):
    """A judge did not do its work."""

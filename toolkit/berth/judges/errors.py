"""What a person can get wrong, or a machine can lack."""


class JudgeError(Exception):
    """An input of ours is wrong, or a judge did not run: the message is the whole story."""

"""Everything that can go wrong here, as one tree.

::

    ImagesError                 base of all: says what, where and what to do next
    ├── UnknownRoleError        no image of that name
    ├── MissingToolError        a program of this machine is needed and absent
    ├── FetchError              Debian packages or wheels could not be had
    ├── BuildError              the content is not what an image may hold
    └── RegistryError           a registry refused or failed (.registry, .repository)
        ├── UnreachableError    no connection, no TLS, or no answer after retries
        ├── UnauthorizedError   401: no credentials, or wrong ones
        ├── ForbiddenError      403: known, but not allowed
        └── NotFoundError       404: no such repository or tag
"""

from __future__ import annotations


class ImagesError(Exception):
    """Base of all errors of this package; the message is a full sentence for the person."""


class UnknownRoleError(ImagesError):
    """A role that images.yaml does not have."""


class MissingToolError(ImagesError):
    """A program that building needs is not on this machine."""


class FetchError(ImagesError):
    """Debian packages or Python wheels could not be downloaded or verified."""


class BuildError(ImagesError):
    """What was assembled breaks a rule of what an image may hold."""


class RegistryError(ImagesError):
    """A registry refused, failed, or answered something else than the protocol says."""

    def __init__(self, message: str, *, registry: str, repository: str = "") -> None:
        super().__init__(message)
        self.registry = registry
        self.repository = repository


class UnreachableError(RegistryError):
    """The registry could not be reached, or kept failing after every retry."""


class UnauthorizedError(RegistryError):
    """The registry answered 401."""


class ForbiddenError(RegistryError):
    """The registry answered 403."""


class NotFoundError(RegistryError):
    """The registry answered 404."""

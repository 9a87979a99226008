"""Names of images in registries, taken apart as docker takes them apart."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from berth_images.errors import ImagesError

DOCKER_HUB = "docker.io"
_DOCKER_HUB_API = "registry-1.docker.io"
_HOST = re.compile(r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(:[0-9]{1,5})?$")
_REPOSITORY = re.compile(
    r"^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$"
)
_TAG = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")
_DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")


@dataclass(frozen=True)
class Reference:
    """A registry, a repository in it, and a tag or a digest or both; ``str()`` writes it out."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"

    @property
    def api_host(self) -> str:
        """The host that serves this registry's API."""
        return _DOCKER_HUB_API if self.registry == DOCKER_HUB else self.registry

    @property
    def is_loopback(self) -> bool:
        """Whether the registry is on this machine, where plain HTTP leaks nothing."""
        host = self.registry.rsplit(":", 1)[0] if not self.registry.endswith("]") else self.registry
        if host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host.strip("[]")).is_loopback
        except ValueError:
            return False


def parse(text: str) -> Reference:
    """Take a reference apart; ``python`` is ``docker.io/library/python:latest``.

    Raises:
        ImagesError: it is no image reference; says which part and what is allowed.
    """
    rest, _, digest = text.partition("@")
    if digest and not _DIGEST.match(digest):
        raise ImagesError(f"{text!r}: {digest!r} is no digest; it is sha256: and 64 hexadecimal digits")
    first, slash, remaining = rest.partition("/")
    if slash and (first == "localhost" or "." in first or ":" in first):
        registry, path = first, remaining
    else:
        registry, path = DOCKER_HUB, rest
    if registry == "index.docker.io":
        registry = DOCKER_HUB
    if not _HOST.match(registry):
        raise ImagesError(f"{text!r}: {registry!r} is no registry; it is a host name with an optional port")
    repository, _, tag = path.partition(":")
    if registry == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    if not _REPOSITORY.match(repository):
        raise ImagesError(
            f"{text!r}: {repository!r} is no repository; it is lower-case letters, digits, "
            "'.', '_', '-', in parts joined by '/'"
        )
    if tag and not _TAG.match(tag):
        raise ImagesError(f"{text!r}: {tag!r} is no tag; at most 128 letters, digits, '.', '_', '-'")
    return Reference(registry, repository, tag or ("" if digest else "latest"), digest)


def below(registry: str, role: str, tag: str) -> Reference:
    """Where an image of ours goes in a registry that is given as ``host[:port][/prefix]``.

    Raises:
        ImagesError: the registry is written in another way.
    """
    host, _, prefix = registry.strip("/").partition("/")
    if "://" in registry or not _HOST.match(host) or not (host == "localhost" or "." in host or ":" in host):
        raise ImagesError(
            f"images.registry: {registry!r} names no registry; write host[:port][/path] without a scheme, "
            "as in registry.example.com/ai"
        )
    return parse(f"{host}/{prefix}/{role}:{tag}" if prefix else f"{host}/{role}:{tag}")

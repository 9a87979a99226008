"""What only another place can answer: open findings.

A preview shows them as warnings and as the stack's output `findings`. A real run is refused while one is open
that leaves nothing to deploy, such as an image without a reference; in production by any.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

import pulumi
from berth_catalogue.accelerators import accelerator, accelerators
from berth_catalogue.endpoints import ROLE as ENDPOINT_ROLE
from berth_catalogue.endpoints import container_build
from berth_catalogue.machines import DATA_DATE, offered
from berth_catalogue.models import Weights, models
from berth_components.device_plugin_kinds import KINDS

from berth_stacks import build, pools
from berth_stacks.errors import Path, dotted
from berth_stacks.grounds import Pool
from berth_stacks.settings import Site, Stack

NOBODY = "arn:aws:iam::000000000000:role/unpinned"
"""Stands in previews for administrators that nobody has named yet: no account has this number."""
WEIGHTS = "weights"
"""The folder of pinned weights, beside the stacks' files."""
NO_RESERVATION = {"eks": "cr-00000000", "gke": "unpinned"}
"""Stands in previews for a reservation that nobody has named yet."""
NO_PROJECT = "unpinned"
"""Stands in previews for a project of Google Cloud that nobody has named yet."""
NO_PROJECT_NUMBER = "000000000000"
"""Its number: service agents are named by it, and nobody can be asked for it."""
_DIGEST = "the digest of {}, or of your mirror of it, is to be asked of its registry"
_AUTOSCALER = "registry.k8s.io/autoscaling/cluster-autoscaler"
"""What the component runs where no image is named; it chooses the release."""
Blocks = Literal["everywhere", "production", "nothing"]


@dataclass(frozen=True, order=True)
class Finding:
    """One question that is open.

    Attributes:
        path: the setting that will answer it, or that it is about.
        text: what is not known, and how to know it.
        blocks: which real runs it holds back.
    """

    path: Path
    text: str
    blocks: Blocks

    def __str__(self) -> str:
        return f"{dotted(self.path)} {self.text}"


class FindingsError(pulumi.RunError, ValueError):
    """A stack cannot be deployed before its findings are answered; the message lists them."""

    def __init__(self, stack: str, findings: list[str]) -> None:
        count = "1 finding is" if len(findings) == 1 else f"{len(findings)} findings are"
        super().__init__("\n  ".join([f"stack '{stack}' cannot be deployed: {count} open", *findings]))


ADD_A_KEY = (
    "./berth key <stack> --add <name>, or pulumi config set --secret --path 'berth:apiKeys.<name>' "
    '"$(openssl rand -hex 24)"'
)


def open_findings(stack: Stack, pins: Collection[str], *, has_api_keys: bool) -> Iterator[Finding]:
    """Everything that is open for a stack whose settings are right."""
    if not has_api_keys and not stack.api_keys_secret and stack.models:
        yield Finding(("apiKeys",), f"has no keys of clients: {ADD_A_KEY}", "everywhere")
    for role in sorted(build.roles(stack) - stack.images.refs.keys()):
        path: Path = ("images", "refs", role)
        yield Finding(path, f"is not known: {_image_remedy(stack, role)}", "everywhere")
    asked: set[str] = set()
    for key, model in stack.models.items():
        known = isinstance(models()[model.model].weights, Weights) or model.model in {*pins, *asked}
        if not known:
            asked.add(model.model)
            text = f"has no pinned weights: ./berth weights pin {model.model}"
            yield Finding(("models", key, "model"), text, "everywhere")
    yield from _examples(stack)
    for key, site in stack.sites.items():
        yield from _ground(key, site)
        if stack.environment == "production":
            yield from _agents(key, site)
        for name, pool in site.pools.items():
            yield from _reservation(("sites", key, "pools", name), pool)
            yield from _offer(("sites", key, "pools", name), site, pool)


SET_A_TOKEN = 'pulumi config set --secret berth:siteToken "$(openssl rand -hex 24)"'  # noqa: S105 - a command


def token_findings(stack: Stack, *, has_token: bool) -> Iterator[Finding]:
    """What hybrid controllers show to reporters is made from the clients' keys, where those are known."""
    if stack.api_keys_secret and not has_token and any(one.hybrid for one in stack.routers.values()):
        text = f"is missing, which sites of hybrid routers share, and apiKeys are not known: {SET_A_TOKEN}"
        yield Finding(("siteToken",), text, "everywhere")


def _examples(stack: Stack) -> Iterator[Finding]:
    """Names that stand for one of the user's."""
    for key, router in stack.routers.items():
        beyond = router.hybrid.beyond if router.hybrid else None
        if beyond is None:
            continue
        path: Path = ("routers", key, "hybrid", "beyond")
        names: dict[Path, str | None] = {
            ("service", "domain"): beyond.service.domain,
            **{("services", site, "domain"): one.domain for site, one in beyond.services.items()},
            ("tls", "serverName"): beyond.tls.server_name if beyond.tls else None,
        }
        for where, name in names.items():
            # Nobody can have one of them (RFC 2606).
            if name and f".{name}".endswith((".example", ".example.org", ".example.com", ".example.net")):
                yield Finding((*path, *where), f"is {name}, an example: say one of yours", "everywhere")


def _image_remedy(stack: Stack, role: str) -> str:
    if stack.environment == "local":
        return "./berth up local fills it in"
    if command := container_build(role):
        return f"{command}, then docker push to ECR in the endpoint's region, by digest"
    if role.startswith(ENDPOINT_ROLE):
        return f"./berth images push {role} --registry <your ECR>, then ./berth images pin"
    official = build.official_references(stack).get(role)
    if official:
        return _DIGEST.format(official)
    return "./berth images push, then ./berth images pin"


def _ground(key: str, site: Site) -> Iterator[Finding]:
    if site.eks and not site.eks.existing and not site.eks.admin_arns:
        text = "is missing: ARNs of the IAM roles and users that administer the cluster, yours among them"
        yield Finding(("sites", key, "eks", "adminArns"), text, "everywhere")
    if site.gke and not site.gke.project:
        text = "is missing: the project's ID, from: gcloud config get project"
        yield Finding(("sites", key, "gke", "project"), text, "everywhere")


def _agents(key: str, site: Site) -> Iterator[Finding]:
    """Images of what runs beside the models, which production names by digest like any other."""
    used: dict[Path, str] = {}
    eks = site.eks
    if eks and eks.scaling != "auto-mode":
        given = eks.autoscaler.image if eks.autoscaler else None
        used["eks", "autoscaler", "image"] = given or _AUTOSCALER
    vendors = {
        accelerator(pool.accelerator).vendor
        for pool in site.pools.values()
        if pool.accelerator in accelerators()
    }
    for vendor, kind in pools.PLUGIN_KINDS.items():
        if vendor in vendors and pools.plugin_mode(site, kind) == "managed":
            settings = pools.plugin_settings(site, kind)
            given = settings.image if settings else None
            used["devicePlugins", kind, "image"] = given or KINDS[kind].image
    for path, image in used.items():
        if "@sha256:" not in image:
            text = f"is not pinned: {_DIGEST.format(image)}"
            yield Finding(("sites", key, *path), text, "production")


def _reservation(path: Path, pool: Pool) -> Iterator[Finding]:
    if pool.capacity != "reserved":
        return
    text = "is missing: the reservation that was bought"
    if pool.gke and pool.gke.reservation is None:
        yield Finding((*path, "gke", "reservation"), text, "everywhere")
    if pool.eks and pool.eks.reservation and pool.eks.reservation.id is None:
        yield Finding((*path, "eks", "reservation", "id"), text, "everywhere")


def _offer(path: Path, site: Site, pool: Pool) -> Iterator[Finding]:
    machine = pools.machine_of(site, pool)
    if machine and offered(machine, pools.region_of(site)) is None:
        text = (
            f"needs {machine.name}: the data of {DATA_DATE} do not say whether {pools.region_of(site)} has it"
        )
        yield Finding((*path, "accelerator"), text, "nothing")


def announce(stack: str, environment: str, findings: tuple[Finding, ...]) -> list[str]:
    """Warn of what is open, and refuse a real run that it holds back.

    Returns:
        The findings as sorted texts, for the stack's outputs.

    Raises:
        FindingsError: this is no preview, and the stack cannot be deployed.
    """
    texts = sorted(map(str, findings))
    held_back = {"everywhere", "production"} if environment == "production" else {"everywhere"}
    blocking = sorted(str(one) for one in findings if one.blocks in held_back)
    if blocking and not pulumi.runtime.is_dry_run():
        raise FindingsError(stack, blocking)
    for text in texts:
        pulumi.log.warn(f"open finding: {text}")
    return texts

"""Checks of values that only Google Cloud has: each gives the value back, or raises `Refusal`."""

import ipaddress
import re
from collections.abc import Mapping

from berth_components import checks
from berth_components.arguments import Refusal

_LOCATION = re.compile(r"(?P<region>[a-z]+(-[a-z]+)+[0-9]+)(-(?P<zone>[a-z]))?")

project_id = checks.text(
    r"([a-z0-9.-]+:)?[a-z][-a-z0-9]{4,28}[a-z0-9]",
    "a project's ID, such as models-prod-1 (not its name, and not its number)",
)
project_number = checks.text(
    r"[0-9]{6,20}", "a project's number as a string, from: gcloud projects describe <project>"
)
cluster_name = checks.text(
    r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", "1 to 40 lower-case letters, digits and '-', beginning with a letter"
)
account_email = checks.text(
    r"[a-z0-9-]+@[a-z0-9.-]+\.gserviceaccount\.com",
    "the e-mail address of a service account, such as nodes@my-project.iam.gserviceaccount.com",
)
kms_key = checks.text(
    r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+",
    "a key as projects/<project>/locations/<region>/keyRings/<ring>/cryptoKeys/<key>",
)
repository = checks.text(
    r"projects/[^/]+/locations/[^/]+/repositories/[^/]+",
    "a repository of Artifact Registry as projects/<project>/locations/<location>/repositories/<name>",
)
bucket = checks.text(
    r"[a-z0-9][-a-z0-9_.]{1,220}[a-z0-9]", "a bucket's name, without gs://, such as my-project-weights"
)
machine_type = checks.text(r"[a-z][a-z0-9]*(-[a-z0-9]+)+", "a machine type such as e2-standard-4")
resource_label = checks.text(
    r"[a-z0-9_-]{0,63}", "at most 63 lower-case letters, digits, '_' and '-': it is a label of Google Cloud"
)
resource_label_key = checks.text(
    r"[a-z][a-z0-9_-]{0,62}", "1 to 63 lower-case letters, digits, '_' and '-', beginning with a letter"
)
range_name = checks.text(
    r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", "the name of a secondary range of the subnet, such as pods"
)


def location(value: object) -> str:
    """A region, or a zone of one."""
    if not isinstance(value, str) or not _LOCATION.fullmatch(value):
        raise Refusal("a region such as europe-west4, or a zone such as europe-west4-a")
    return value


def zone(value: object) -> str:
    """A zone of a region."""
    match = _LOCATION.fullmatch(value) if isinstance(value, str) else None
    if not match or not match["zone"]:
        raise Refusal("a zone such as europe-west4-a")
    return str(value)


def region_of(place: str) -> str:
    """The region of a location that passed `location`."""
    match = _LOCATION.fullmatch(place)
    return match["region"] if match else place


def is_zone(place: str) -> bool:
    """Whether a location that passed `location` is one zone."""
    match = _LOCATION.fullmatch(place)
    return bool(match and match["zone"])


def ipv4_range(value: object) -> str:
    """An IPv4 address range: Google's subnets and Kubernetes Engine's ranges are those."""
    found = checks.cidr(value)
    if ipaddress.ip_network(found).version != 4:  # noqa: PLR2004 - the version of IPv4
        raise Refusal("an IPv4 address range such as 10.20.0.0/16 (host bits zero)")
    return found


def named_ranges(value: object) -> Mapping[str, str]:
    """Address ranges by the name of who is there; together they must not hold everybody."""
    name = checks.text(r"[A-Za-z0-9][-A-Za-z0-9_ .]{0,62}", "names of letters, digits, spaces, '-', '_', '.'")
    ranges = checks.mapping_of(name, checks.cidr)(value)
    for key, cidr in ranges.items():
        if checks.is_everybody([cidr]):
            raise Refusal(
                "ranges of addresses that you know",
                f"'{key}' is {cidr}, which is everybody; use the DNS endpoint, which asks IAM",
            )
    if checks.is_everybody(list(ranges.values())):
        raise Refusal(
            "ranges of addresses that you know",
            f"{', '.join(ranges)} together hold every address; use the DNS endpoint, which asks IAM",
        )
    return ranges

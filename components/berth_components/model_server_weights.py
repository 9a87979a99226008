"""Where a model server's weights come from: an image of ours, a hub, or a volume that is filled already."""

import ipaddress
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from berth_catalogue.engines import Engine
from berth_catalogue.errors import CatalogueError
from berth_catalogue.weights_pins import Pins, manifest_text, parse_pins
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.networking import v1 as networking

from berth_components import checks, network
from berth_components import model_server_args as declared
from berth_components.arguments import Arguments, Refusal, combine
from berth_components.model_server_resources import read_resources

MODELS_DIR = "/models"
MANIFEST_DIR = "/etc/berth/weights"
MANIFEST = "manifest.json"
TOKEN_DIR = "/etc/berth/hub-token"  # noqa: S105 - a folder, no token
TOKEN_KEY = "token"  # noqa: S105 - the name of a Secret's entry, no token
HUB = "https://huggingface.co"
WEIGHTS_RESOURCES = {"cpu_request": "100m", "memory_request": "64Mi", "memory_limit": "256Mi"}
FETCH_SECONDS = 3600
_GIB = 2**30
_SPARE = 1.05
"""Of a volume: file systems keep some for themselves."""
_NOT_PUBLIC = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
    "192.168.0.0/16",
)
_NOT_PUBLIC_V6 = ("fc00::/7", "fe80::/10")
_METADATA = ("169.254.169.254", "169.254.170.23", "fd00:ec2::254")
_STORED = ("repo", "revision", "files", "file", "url", "credentials_secret", "hub_cidrs", "fetch_seconds")
_URLS = {
    "s3": (r"s3://[^\s/@?#]+(/[^\s@?#]+)?", "s3://<bucket>/<folder>"),
    "gcs": (r"gs://[^\s/@?#]+(/[^\s@?#]+)?", "gs://<bucket>/<folder>"),
    "oci": (r"oci://[^\s/@]+/[^\s@:]+@sha256:[0-9a-f]{64}", "oci://<host>/<repository>@sha256:<digest>"),
}
# Where each cloud hands a pod's own identity out: EKS' agent; GKE's metadata server, which network policies
# see at another address and port on clusters without Dataplane V2.
_IDENTITIES = {
    "eks": (("169.254.170.23/32", 80),),
    "gke": (("169.254.169.254/32", 80), ("169.254.169.252/32", 988)),
}
_SECRET_FILES = {
    "gcs": ("GOOGLE_APPLICATION_CREDENTIALS", "key.json"),
    "oci": ("BERTH_WEIGHTS_DOCKER_CONFIG", ".dockerconfigjson"),
}
_ONLY = {
    "packaged": ("file", "sha256"),
    "hub": ("repo", "revision", "files", "hub_url", "hub_cidrs", "token_secret", "fetch_seconds", "file"),
    "s3": (*_STORED, "endpoint", "region", "identity"),
    "gcs": (*_STORED, "endpoint", "identity"),
    "oci": _STORED,
    "volume": ("repo", "revision", "files", "path", "file"),
}
"""What each kind of source takes, besides what all of them take."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where weights come from and where they lie.

    Attributes:
        environment: the fetcher's.
        model_path: what the engine loads.
        manifest: the files with sizes and digests, as JSON; None where one digest says it all.
        token_secret: Secret with what the fetcher shows, as a file.
        env_secret: Secret with what it shows, as variables.
        read_only: the volume is filled already and not written to.
        identity: eks or gke, where the pod's own identity in the cloud opens the store.
        egress: where the pod may go for them; empty is nowhere.
        fetch_seconds: budget of the fetcher.
    """

    image: pulumi.Input[str]
    environment: Mapping[str, pulumi.Input[str]]
    model_path: pulumi.Input[str]
    manifest: pulumi.Input[str] | None
    token_secret: pulumi.Input[str] | None
    env_secret: pulumi.Input[str] | None = None
    identity: str | None = None
    read_only: bool
    egress: pulumi.Input[Sequence[networking.NetworkPolicyEgressRuleArgs]]
    fetch_seconds: pulumi.Input[int]
    storage: str
    size: pulumi.Input[str]
    storage_class: pulumi.Input[str] | None
    access_mode: pulumi.Input[str]
    claim_name: pulumi.Input[str] | None
    resources: core.ResourceRequirementsArgs


def read_weights(
    given: Arguments, engine: Engine, replicas: pulumi.Input[int] | None, models_dir: str = MODELS_DIR
) -> Weights:
    """Check the group `weights`, and the format of the model; `models_dir` is where the volume is mounted.

    Raises:
        ArgumentError: an argument is missing, not allowed, or contradicts another one.
    """
    args = given.group("weights", declared.WeightsArgs)
    kind = args.plain("source", _source).partition(":")[0]
    format_ = given.group("model", declared.ModelArgs).plain(
        "format", checks.choice(*engine.formats), "gguf" if kind == "packaged" else "safetensors"
    )
    for key in {one for keys in _ONLY.values() for one in keys} - set(_ONLY[kind]):
        if key in args:
            raise args.refuse(key, "given", f"nothing where source is {kind}", "remove it")
    if kind == "packaged":
        return _packaged(args, replicas, models_dir)
    pins = _pins(args)
    folder = (
        args.read("path", _relative_path)
        if kind == "volume"
        else combine(lambda known: str(known.folder), pins)
    )
    file = _file(args, pins, format_)
    hub = args.read("hub_url", _https, HUB)
    token = args.maybe("token_secret", checks.dns_label) if kind == "hub" else None
    seconds = args.read("fetch_seconds", checks.whole_number(60, 86_400, "seconds"), FETCH_SECONDS)
    environment: dict[str, pulumi.Input[str]] = {
        "BERTH_WEIGHTS_DIR": models_dir,
        "BERTH_WEIGHTS_FOLDER": folder,
        "BERTH_WEIGHTS_MANIFEST": f"{MANIFEST_DIR}/{MANIFEST}",
        "BERTH_WEIGHTS_SOURCE": kind,
    }
    if kind == "hub":
        environment |= {
            "BERTH_WEIGHTS_HUB": hub,
            "BERTH_WEIGHTS_SECONDS": combine(lambda known: str(int(known)), seconds),
        }
    env_secret = None
    if kind in _URLS:
        environment |= _store(args, kind, seconds)
        secret = args.maybe("credentials_secret", checks.dns_label)
        if secret is not None and kind in _SECRET_FILES:
            variable, file_name = _SECRET_FILES[kind]
            environment[variable] = f"{TOKEN_DIR}/{file_name}"
            token = secret
        else:
            env_secret = secret
    elif token is not None:
        environment["BERTH_WEIGHTS_TOKEN_FILE"] = f"{TOKEN_DIR}/{TOKEN_KEY}"
    return Weights(
        image=args.read("image", checks.image),
        environment=environment,
        model_path=combine(lambda inner, name: "/".join([models_dir, inner, *name]), folder, file),
        manifest=combine(manifest_text, pins),
        token_secret=token,
        env_secret=env_secret,
        identity=args.plain("identity", checks.choice(*_IDENTITIES)) if "identity" in args else None,
        read_only=kind == "volume",
        egress=[] if kind == "volume" else _egress(args, kind, hub),
        fetch_seconds=0 if kind == "volume" else seconds,
        **_storage(args, replicas, pins, filled=kind == "volume"),
    )


def _store(args: Arguments, kind: str, seconds: pulumi.Input[int]) -> dict[str, pulumi.Input[str]]:
    """What the fetcher is told of a bucket or an artifact."""
    if "identity" in args and "credentials_secret" in args:
        raise args.refuse("identity", "given beside credentials_secret", "one of the two", "remove one")
    environment: dict[str, pulumi.Input[str]] = {
        "BERTH_WEIGHTS_URL": args.read("url", checks.text(*_URLS[kind])),
        "BERTH_WEIGHTS_SECONDS": combine(lambda known: str(int(known)), seconds),
    }
    if "endpoint" in args:
        environment["BERTH_WEIGHTS_ENDPOINT"] = args.read("endpoint", _https)
    if kind == "s3":
        environment["AWS_REGION"] = args.read("region", checks.text(r"[a-z0-9-]{2,40}", "a region"))
    if kind != "oci" and "credentials_secret" not in args and "identity" not in args:
        environment["BERTH_WEIGHTS_ANONYMOUS"] = "true"
    return environment


def _packaged(args: Arguments, replicas: pulumi.Input[int] | None, models_dir: str) -> Weights:
    file = args.read("file", checks.text(r"[A-Za-z0-9][A-Za-z0-9._-]*", "a file name without a folder"))
    return Weights(
        image=args.read("image", checks.image),
        environment={
            "BERTH_WEIGHTS_DIR": models_dir,
            "BERTH_WEIGHTS_SHA256": args.read("sha256", checks.sha256),
            "BERTH_WEIGHTS_SOURCE": args.plain("source", _source),
        },
        model_path=combine(lambda known: f"{models_dir}/{known}", file),
        manifest=None,
        token_secret=None,
        read_only=False,
        egress=[],
        fetch_seconds=0,
        **_storage(args, replicas, None, filled=False),
    )


def _storage(
    args: Arguments, replicas: pulumi.Input[int] | None, pins: pulumi.Input[Pins] | None, *, filled: bool
) -> dict[str, Any]:
    storage = _kind_of_storage(args, filled=filled)

    def shareable(mode: str, replicas: int | None) -> str:
        if storage == "new-claim" and mode == "ReadWriteOnce" and replicas != 1:
            raise args.refuse(
                "access_mode", mode, "ReadWriteMany for more than one replica", "or another storage"
            )
        return mode

    def room(size: str | None, known: Pins | None) -> str:
        least = known.total_bytes if known else 0
        if size is None:
            return f"{math.ceil(least * _SPARE / _GIB) + 1}Gi" if least else "1Gi"
        if checks.amount(size) < least:
            raise args.refuse("size", size, f"room for the files: {least} bytes")
        return size

    modes = checks.choice("ReadWriteMany", "ReadWriteOnce")
    size = combine(room, args.maybe("size", checks.quantity), pins)
    return {
        "storage": storage,
        "size": size,
        "storage_class": args.maybe("storage_class", checks.plain_text),
        "access_mode": combine(shareable, args.read("access_mode", modes, "ReadWriteMany"), replicas),
        "claim_name": args.read("claim_name", checks.plain_text) if storage == "claim" else None,
        # The scheduler takes the most that any step of a pod asks for, so the fetcher speaks for all of them.
        # No limit beside it, which would be the whole pod's, logs and scratch included: the volume has one.
        "resources": read_resources(args, WEIGHTS_RESOURCES, disk=size if storage == "empty-dir" else None),
    }


def _kind_of_storage(args: Arguments, *, filled: bool) -> str:
    kinds = checks.choice("ephemeral", "empty-dir", "claim", "new-claim")
    storage = args.plain("storage", kinds, "ephemeral")
    if filled and storage != "claim":
        raise args.refuse("storage", storage, "claim where source is volume", "it is filled already")
    for key, only in (("claim_name", "claim"), ("access_mode", "new-claim")):
        if key in args and storage != only:
            raise args.refuse(key, "given", f"only with storage {only}", f"storage is {storage}")
    for key in ("size", "storage_class"):
        if key in args and storage == "claim":
            raise args.refuse(key, "given", "only where the volume is made", "an existing claim has its own")
    if "storage_class" in args and storage == "empty-dir":
        allowed = "nothing with storage empty-dir"
        raise args.refuse("storage_class", "given", allowed, "its disk is the node's")
    return storage


def _pins(args: Arguments) -> pulumi.Input[Pins]:
    def pinned(repo: str, revision: str, files: Sequence[Any]) -> Pins:
        # Numbers that went through Pulumi's wire format come back as floats.
        whole = [
            {**one, "size": int(one["size"])}
            if isinstance(one, Mapping) and isinstance(one.get("size"), float) and one["size"].is_integer()
            else one
            for one in files
        ]
        try:
            return parse_pins({"repo": repo, "revision": revision, "files": [*whole]}, "pins")
        except CatalogueError as error:
            raise args.refuse("files", str(error), "what `berth weights pin` writes") from None

    return combine(
        pinned,
        args.read("repo", checks.text(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", "<owner>/<name>")),
        args.read(
            "revision", checks.text(r"[0-9a-f]{40}", "a commit: 40 hexadecimal digits, never a branch")
        ),
        args.read("files", checks.list_of(_anything, at_least=1)),
    )


def _file(args: Arguments, pins: pulumi.Input[Pins], format_: str) -> pulumi.Input[Sequence[str]]:
    """The file that an engine for GGUF loads; nothing where it loads the whole folder."""
    if format_ != "gguf":
        if "file" in args:
            raise args.refuse("file", "given", f"nothing where the format is {format_}", "remove it")
        return []

    def there(file: str, known: Pins) -> Sequence[str]:
        names = [one.path for one in known.files if one.path.endswith(".gguf")]
        if file not in names:
            raise args.refuse("file", file, f"one of the files: {', '.join(names) or 'none is .gguf'}")
        return [file]

    return combine(there, args.read("file", checks.plain_text), pins)


def _egress(
    args: Arguments, kind: str, hub: pulumi.Input[str]
) -> pulumi.Input[list[networking.NetworkPolicyEgressRuleArgs]]:
    def rules(cidrs: Sequence[str], url: str) -> list[networking.NetworkPolicyEgressRuleArgs]:
        port = re.search(r":(\d+)(/|$)", url)
        peers = network.ranges(cidrs) if cidrs else _public()
        return [
            networking.NetworkPolicyEgressRuleArgs(
                to=peers, ports=[network.port(int(port[1]) if port else 443)]
            ),
            *(
                networking.NetworkPolicyEgressRuleArgs(
                    to=network.ranges([cidr]), ports=[network.port(number)]
                )
                for cidr, number in identity
            ),
        ]

    identity: tuple[tuple[str, int], ...] = ()
    at = hub
    if kind in _URLS:
        key = "endpoint" if "endpoint" in args else "url"
        at = args.read(key, checks.plain_text)
        if "identity" in args:
            identity = _IDENTITIES[args.plain("identity", checks.choice(*_IDENTITIES))]
    return combine(rules, args.read("hub_cidrs", checks.list_of(range_without_metadata), []), at)


def _public() -> list[networking.NetworkPolicyPeerArgs]:
    """The whole internet, and nothing else: neither private networks nor clouds' metadata servers."""
    return [
        networking.NetworkPolicyPeerArgs(
            ip_block=networking.IPBlockArgs(cidr="0.0.0.0/0", except_=[*_NOT_PUBLIC])
        ),
        networking.NetworkPolicyPeerArgs(
            ip_block=networking.IPBlockArgs(cidr="::/0", except_=[*_NOT_PUBLIC_V6])
        ),
    ]


def range_without_metadata(value: Any) -> str:
    """An address range in which no cloud hands out credentials."""
    known = checks.cidr(value)
    if any(ipaddress.ip_address(one) in ipaddress.ip_network(known) for one in _METADATA):
        raise Refusal("ranges without the clouds' metadata addresses (169.254.169.254 among them)")
    return known


def _source(value: Any) -> str:
    allowed = "packaged:<what>, such as packaged:smollm2; or hub, s3, gcs, oci, or volume"
    return checks.text(r"packaged:\S+|hub|s3|gcs|oci|volume", allowed)(value)


def _relative_path(value: Any) -> str:
    part = r"[A-Za-z0-9][A-Za-z0-9._-]*"
    return checks.text(f"{part}(/{part})*", "a folder in the volume, such as models/llama")(value)


def _https(value: Any) -> str:
    found = checks.text(r"https://[A-Za-z0-9.-]+(:[0-9]{1,5})?/?", "https://<host>, with a port if need be")(
        value
    )
    return found.rstrip("/")


def _anything(value: Any) -> Any:
    return value

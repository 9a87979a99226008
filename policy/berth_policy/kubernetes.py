"""Kubernetes objects as checks look at them: which kind one is, and the pods that it makes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pulumi_policy.proxy import UnknownValueError

from berth_policy.subject import Resource, at, mapping, sequence

KUBERNETES = ("kubernetes:",)
_TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "Pod": (),
    "PodTemplate": ("template",),
    "Deployment": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "ReplicationController": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
Place = Literal["initContainers", "containers", "ephemeralContainers"]
PLACES: tuple[Place, ...] = ("initContainers", "containers", "ephemeralContainers")
_DEPTH = 12
"""How deep pods are looked for in kinds that we do not know."""


@dataclass(frozen=True)
class Object:
    """A Kubernetes object: a resource, or an item of a resource that is a list.

    Attributes:
        resource: the resource.
        kind: its kind, such as Deployment.
        body: the object.
        path: where it is in the resource, such as "items[0]."; "" for the resource itself.
    """

    resource: Resource
    kind: str
    body: Mapping[str, Any]
    path: str = ""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Its metadata."""
        return mapping(self.body.get("metadata"))

    @property
    def spec(self) -> Mapping[str, Any]:
        """Its spec."""
        return mapping(self.body.get("spec"))

    @property
    def namespace(self) -> str:
        """Its namespace; "default" where it names none."""
        return str(self.metadata.get("namespace") or "default")

    @property
    def name(self) -> str:
        """Its name, or "" where the cluster makes one."""
        return str(self.metadata.get("name") or "")


@dataclass(frozen=True)
class Container:
    """A container of a pod.

    Attributes:
        place: in which of the pod's lists it is.
        path: where it is in the resource.
        body: the container.
    """

    place: Place
    path: str
    body: Mapping[str, Any]

    @property
    def sidecar(self) -> bool:
        """Whether it is an init container that goes on beside the others."""
        return bool(self.place == "initContainers" and self.body.get("restartPolicy") == "Always")

    @property
    def serves(self) -> bool:
        """Whether it runs as long as the pod does."""
        return self.place == "containers" or self.sidecar


@dataclass(frozen=True)
class Pod:
    """A pod, or the template of pods, as it is in a resource.

    Attributes:
        object: what makes it; the pod itself where nothing does.
        template: what holds its metadata and spec.
        path: where the pod's spec is in the resource, such as spec.template.spec.
        spec: the pod's spec.
    """

    object: Object
    template: Mapping[str, Any]
    path: str
    spec: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """The kind of what makes it."""
        return self.object.kind

    @property
    def namespace(self) -> str:
        """The namespace that it runs in."""
        return self.object.namespace

    @property
    def stays(self) -> bool:
        """Whether it is to run until somebody ends it."""
        if self.object.kind in {"Job", "CronJob"}:
            return False
        policy = self.spec.get("restartPolicy")
        return policy is None or policy == "Always"

    @property
    def windows(self) -> bool:
        """Whether it runs on Windows, which knows some controls only by other names."""
        return bool(at(self.spec, "os", "name") == "windows")

    @property
    def labels(self) -> Mapping[str, Any]:
        """The pod's labels."""
        return mapping(at(self.template, "metadata", "labels"))

    def containers(self, *places: Place) -> Iterator[Container]:
        """Its containers, of all lists or of the given ones."""
        for place in places or PLACES:
            for number, body in enumerate(sequence(self.spec.get(place))):
                yield Container(place, f"{self.path}.{place}[{number}]", mapping(body))


def kind_of(resource: Resource) -> str:
    """The kind of a Kubernetes resource; "" of others."""
    if not resource.token.startswith(KUBERNETES):
        return ""
    kind = resource.token.rpartition(":")[2]
    # Patches of objects are judged as the objects that they become.
    return kind.removesuffix("Patch")


def objects(resource: Resource) -> tuple[Object, ...]:
    """The objects that a resource stands for: itself, or the items of a list."""
    if "objects" not in resource.memory:
        resource.memory["objects"] = tuple(_objects(resource))
    found: tuple[Object, ...] = resource.memory["objects"]
    return found


def _objects(resource: Resource) -> Iterator[Object]:
    kind = kind_of(resource)
    if not kind:
        return
    if kind.endswith("List") and "items" in resource.props:
        for number, item in enumerate(sequence(resource.props.get("items"))):
            own = mapping(item).get("kind") or kind.removesuffix("List")
            yield Object(resource, own, mapping(item), f"items[{number}].")
    else:
        yield Object(resource, kind, resource.props)


def pods(resource: Resource) -> tuple[Pod, ...]:
    """Every pod or template of pods in a resource, also in kinds of a CustomResourceDefinition.

    Raises:
        UnknownValueError: what would say so is unknown.
    """
    if "pods" not in resource.memory:
        resource.memory["pods"] = tuple(one for thing in objects(resource) for one in _pods(thing))
    found: tuple[Pod, ...] = resource.memory["pods"]
    return found


def _pods(thing: Object) -> Iterator[Pod]:
    way = _TEMPLATES.get(thing.kind)
    if way is None:
        if not thing.resource.token.startswith(_WITHOUT_PODS):
            yield from _search(thing, thing.body, thing.path, _DEPTH)
        return
    template = mapping(at(thing.body, *way))
    path = thing.path + "".join(f"{key}." for key in way) + "spec"
    yield Pod(thing, template, path, mapping(template.get("spec")))


_WITHOUT_PODS = tuple(
    f"kubernetes:{group}/"
    for group in (
        "core", "rbac.authorization.k8s.io", "networking.k8s.io", "policy", "autoscaling", "storage.k8s.io",
        "apiextensions.k8s.io", "apiregistration.k8s.io", "admissionregistration.k8s.io", "scheduling.k8s.io",
        "coordination.k8s.io", "discovery.k8s.io", "flowcontrol.apiserver.k8s.io", "node.k8s.io",
        "events.k8s.io", "certificates.k8s.io", "authentication.k8s.io", "authorization.k8s.io",
        "resource.k8s.io", "helm.sh",
    )
)  # fmt: skip
"""Groups of Kubernetes' own whose kinds, but those of _TEMPLATES, make no pods."""


def _search(thing: Object, value: Mapping[str, Any], path: str, depth: int) -> Iterator[Pod]:
    """Pods in a kind that we do not know: whatever has a list of containers with images."""
    containers = [mapping(one) for one in sequence(_known(value, "containers"))]
    if containers and all("image" in one or "name" in one for one in containers):
        yield Pod(thing, {}, path.rstrip("."), value)
        return
    if depth:
        for key in value:
            below = _known(value, key)
            if isinstance(below, Mapping):
                yield from _search(thing, below, f"{path}{key}.", depth - 1)
            else:
                for number, item in enumerate(sequence(below)):
                    yield from _search(thing, mapping(item), f"{path}{key}[{number}].", depth - 1)


def _known(value: Mapping[str, Any], key: str) -> Any:
    """A value, or None where a preview does not know it: a string, as far as anybody can tell."""
    try:
        return value.get(key)
    except UnknownValueError:
        return None

"""What every pod of the toolkit has in common: who it runs as, what it may not do, how it is labelled."""

import hashlib
import json
from collections.abc import Mapping, Sequence

import pulumi
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.policy import v1 as policy

from berth_components.arguments import combine, filled

UID = 65532
"""User and group of every container; the images are built for it."""
PREFIX = "berth.dev/"
TMP_SIZE = "64Mi"
OFTEN_UP_TO = 120
"""Seconds of start-up budget up to which a start-up probe asks every second."""
UNPROBED_UP_TO = 60
"""Seconds of start-up budget up to which there is no start-up probe: liveness begins after them. A probe
would cost every pod one of the kubelet's looks at it, a second, before it counts as ready."""


def labels(
    name: str, instance: pulumi.Input[str], **berth: pulumi.Input[str]
) -> dict[str, pulumi.Input[str]]:
    """The labels of an object: what it is, whose it is, and Berth's own (underscores become dashes)."""
    return {
        **selector(name, instance),
        "app.kubernetes.io/managed-by": "berth",
        **{PREFIX + key.replace("_", "-"): value for key, value in berth.items()},
    }


def selector(name: str, instance: pulumi.Input[str]) -> dict[str, pulumi.Input[str]]:
    """The labels that select the pods of one instance; a Deployment can never change them."""
    return {"app.kubernetes.io/name": name, "app.kubernetes.io/instance": instance}


def restricted_pod() -> core.PodSecurityContextArgs:
    """A pod's security context under Pod Security "restricted"."""
    return core.PodSecurityContextArgs(
        run_as_non_root=True,
        run_as_user=UID,
        run_as_group=UID,
        # Volumes and mounted Secrets belong to root; the group is how our user reads and fills them.
        fs_group=UID,
        fs_group_change_policy="OnRootMismatch",
        seccomp_profile=core.SeccompProfileArgs(type="RuntimeDefault"),
    )


def restricted_container() -> core.SecurityContextArgs:
    """A container's security context under Pod Security "restricted", its root file system read-only."""
    return core.SecurityContextArgs(
        allow_privilege_escalation=False,
        read_only_root_filesystem=True,
        capabilities=core.CapabilitiesArgs(drop=["ALL"]),
    )


def disruption_budget(
    selector: Mapping[str, pulumi.Input[str]],
) -> policy.PodDisruptionBudgetSpecArgs:
    """One pod at a time may be evicted.

    Counted in unavailable pods, so that it allows one eviction at any number of replicas, one included.
    """
    return policy.PodDisruptionBudgetSpecArgs(
        max_unavailable=1,
        # A pod that is broken anyway must not stop a node's upgrade.
        unhealthy_pod_eviction_policy="AlwaysAllow",
        selector=meta.LabelSelectorArgs(match_labels=selector),
    )


def tmp_volume(container: str) -> core.VolumeArgs:
    """A small /tmp of one container's own, since its root is read-only."""
    return core.VolumeArgs(
        name=f"tmp-{container}", empty_dir=core.EmptyDirVolumeSourceArgs(size_limit=TMP_SIZE)
    )


def tmp_mount(container: str) -> core.VolumeMountArgs:
    """Where `tmp_volume` is mounted."""
    return core.VolumeMountArgs(name=f"tmp-{container}", mount_path="/tmp")  # noqa: S108 - a volume of its own


def authority(secret: pulumi.Input[str]) -> core.SecretVolumeSourceArgs:
    """The entry ca.crt of a Secret and nothing else of it: cert-manager keeps a server's key beside it."""
    entry = core.KeyToPathArgs(key="ca.crt", path="ca.crt")
    return core.SecretVolumeSourceArgs(secret_name=secret, items=[entry], default_mode=0o440)


def environment(values: Mapping[str, pulumi.Input[str]]) -> list[core.EnvVarArgs]:
    """Environment variables in a stable order."""
    return [core.EnvVarArgs(name=key, value=values[key]) for key in sorted(values)]


def whole(value: pulumi.Input[int]) -> pulumi.Input[str]:
    """A whole number as text; one that went through an output may be a float."""
    return combine(lambda known: str(int(known)), value)


def startup_probe(
    budget: pulumi.Input[int],
    *,
    command: Sequence[str] | None = None,
    path: str | None = None,
    timeout: int = 5,
) -> core.ProbeArgs:
    """Gives a container the whole budget (seconds) to start: asked often where it is short."""
    period = combine(lambda seconds: 1 if seconds <= OFTEN_UP_TO else 5, budget)
    return core.ProbeArgs(
        exec_=core.ExecActionArgs(command=[*command]) if command else None,
        http_get=_http_get(path, tls=False) if path else None,
        period_seconds=period,
        timeout_seconds=timeout,
        failure_threshold=combine(lambda seconds, every: -(-int(seconds) // every), budget, period),
    )


def http_probe(
    path: str,
    period: pulumi.Input[int],
    *,
    failures: int,
    grace: int | None = None,
    delay: int | None = None,
    tls: bool = False,
) -> core.ProbeArgs:
    """Asks a path of the port named http; the container fails after so many failures in a row.

    A container that is killed for it gets the grace (seconds), by default the pod's. It is not asked in its
    first `delay` seconds.
    """
    return core.ProbeArgs(
        http_get=_http_get(path, tls=tls),
        initial_delay_seconds=delay,
        period_seconds=period,
        timeout_seconds=5,
        failure_threshold=failures,
        termination_grace_period_seconds=grace,
    )


def _http_get(path: str, *, tls: bool) -> core.HTTPGetActionArgs:
    # The kubelet does not look at who signed a certificate.
    return core.HTTPGetActionArgs(path=path, port="http", scheme="HTTPS" if tls else None)


def pre_stop(seconds: int) -> core.LifecycleArgs | None:
    """Serve on for so long before SIGTERM, by the kubelet's own sleep: the images have no shell."""
    if not seconds:
        return None
    return core.LifecycleArgs(
        pre_stop=core.LifecycleHandlerArgs(sleep=core.SleepActionArgs(seconds=int(seconds)))
    )


def checksum(*configs: Mapping[str, str]) -> str:
    """Changes when any of the settings does."""
    return hashlib.sha256(json.dumps(configs, sort_keys=True).encode()).hexdigest()[:16]


def awaited(seconds: pulumi.Input[int]) -> dict[str, pulumi.Input[str]]:
    """The annotation that makes Pulumi wait so long for an object; by itself it gives up after 600 s."""
    return {"pulumi.com/timeoutSeconds": whole(seconds)}


def spread(
    selected: Mapping[str, pulumi.Input[str]],
    topology: str,
    rule: pulumi.Input[str],
    revision: str = "pod-template-hash",
) -> core.TopologySpreadConstraintArgs:
    """Replicas evenly over nodes or zones: preferred, or required (a pod waits rather than share).

    `revision` is the label that tells a workload's revisions apart; a StatefulSet has another one.
    """
    rules = {"preferred": "ScheduleAnyway", "required": "DoNotSchedule"}
    return core.TopologySpreadConstraintArgs(
        max_skew=1,
        topology_key=topology,
        when_unsatisfiable=combine(lambda known: rules[known], rule),
        label_selector=meta.LabelSelectorArgs(match_labels=selected),
        # Counts the pods of one revision, else an update would be spread against the pods that it replaces.
        match_label_keys=[revision],
    )


def pull_secrets(
    names: pulumi.Input[Sequence[str]],
) -> pulumi.Input[list[core.LocalObjectReferenceArgs]] | None:
    """References to the Secrets of a registry; None where there are none."""
    return filled(combine(lambda known: [core.LocalObjectReferenceArgs(name=name) for name in known], names))

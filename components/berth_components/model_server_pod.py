"""The pod of a model server: fetcher, engine and gateway, and the volumes between them."""

from collections.abc import Mapping, Sequence

import pulumi
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from berth_components import pod_identity, pods
from berth_components.arguments import combine, filled
from berth_components.model_server_gateway import FILTERS_DIR, TLS_DIR
from berth_components.model_server_settings import ServerSettings
from berth_components.model_server_weights import MANIFEST_DIR, MODELS_DIR, TOKEN_DIR

HTTP_PORT = 8000
METRICS_PORT = 9000
GRPC_PORT = 8033
API_KEYS_DIR = "/etc/berth/api-keys"
SCRATCH_DIR = "/scratch"
GATEWAY_START_SECONDS = 30
"""Before it is asked whether it is alive: Python takes its time where every core is busy."""
_READABLE = 0o440


def pod(
    settings: ServerSettings,
    labels: Mapping[str, pulumi.Input[str]],
    selector: Mapping[str, pulumi.Input[str]],
) -> core.PodSpecArgs:
    """The pod's specification."""
    placement = settings.placement
    return core.PodSpecArgs(
        service_account_name=settings.name,
        automount_service_account_token=False,
        # Kubernetes would add variables such as <SERVICE>_PORT, which can collide with settings.
        enable_service_links=False,
        security_context=pods.restricted_pod(),
        termination_grace_period_seconds=settings.grace,
        priority_class_name=placement.priority_class,
        runtime_class_name=placement.runtime_class,
        node_selector=filled(placement.node_selector),
        tolerations=filled(placement.tolerations),
        topology_spread_constraints=[
            pods.spread(selector, "kubernetes.io/hostname", placement.spread),
            # Required, it would rule out every node without a zone label.
            pods.spread(selector, "topology.kubernetes.io/zone", "preferred"),
        ],
        image_pull_secrets=pods.pull_secrets(settings.pull_secrets),
        init_containers=[_fetcher(settings)],
        containers=[_engine(settings), _gateway(settings)],
        volumes=_volumes(settings, labels),
    )


def local_volumes(settings: ServerSettings) -> str:
    """Names of the volumes whose content ends with the pod, so that a node with it may be taken away."""
    more = ["scratch"] if settings.engine.scratch is not None else []
    more += ["shared-memory"] if settings.engine.shared_memory is not None else []
    more += ["weights"] if settings.weights.storage == "empty-dir" else []
    return ",".join(["tmp-engine", "tmp-gateway", *more])


def claim_spec(settings: ServerSettings) -> core.PersistentVolumeClaimSpecArgs:
    """The volume that is made for weights."""
    weights = settings.weights
    return core.PersistentVolumeClaimSpecArgs(
        access_modes=[weights.access_mode if weights.storage == "new-claim" else "ReadWriteOnce"],
        storage_class_name=weights.storage_class,
        resources=core.VolumeResourceRequirementsArgs(requests={"storage": weights.size}),
    )


def api_keys_secret(settings: ServerSettings) -> pulumi.Input[str] | None:
    """Name of the Secret with the clients' keys."""
    if settings.api_keys is not None:
        return combine(lambda name: f"{name}-api-keys", settings.name)
    return settings.api_keys_secret


def _volumes(settings: ServerSettings, labels: Mapping[str, pulumi.Input[str]]) -> list[core.VolumeArgs]:
    engine, weights = settings.engine, settings.weights
    volumes = [_weights_volume(settings, labels), pods.tmp_volume("engine"), pods.tmp_volume("gateway")]
    if engine.scratch is not None:
        volumes.append(
            core.VolumeArgs(
                name="scratch", empty_dir=core.EmptyDirVolumeSourceArgs(size_limit=engine.scratch)
            )
        )
    if engine.shared_memory is not None:
        volumes.append(
            core.VolumeArgs(
                name="shared-memory",
                empty_dir=core.EmptyDirVolumeSourceArgs(medium="Memory", size_limit=engine.shared_memory),
            )
        )
    if weights.manifest is not None:
        source = core.ConfigMapVolumeSourceArgs(name=combine(lambda name: f"{name}-weights", settings.name))
        volumes.append(core.VolumeArgs(name="manifest", config_map=source))
    if settings.extras.filters is not None:
        source = core.ConfigMapVolumeSourceArgs(name=combine(lambda name: f"{name}-filters", settings.name))
        volumes.append(core.VolumeArgs(name="filters", config_map=source))
    if weights.identity == "eks":
        volumes.append(pod_identity.token_volume())
    secrets = {
        "hub-token": weights.token_secret,
        "api-keys": api_keys_secret(settings),
        "tls": settings.extras.tls_secret,
    }
    volumes += [
        core.VolumeArgs(
            name=name,
            secret=core.SecretVolumeSourceArgs(secret_name=secret, default_mode=_READABLE),
        )
        for name, secret in secrets.items()
        if secret is not None
    ]
    return volumes


def _weights_volume(settings: ServerSettings, labels: Mapping[str, pulumi.Input[str]]) -> core.VolumeArgs:
    weights = settings.weights
    if weights.storage == "ephemeral":
        template = core.PersistentVolumeClaimTemplateArgs(
            metadata=meta.ObjectMetaArgs(labels=labels), spec=claim_spec(settings)
        )
        return core.VolumeArgs(
            name="weights", ephemeral=core.EphemeralVolumeSourceArgs(volume_claim_template=template)
        )
    if weights.storage == "empty-dir":
        return core.VolumeArgs(
            name="weights", empty_dir=core.EmptyDirVolumeSourceArgs(size_limit=weights.size)
        )
    claim = weights.claim_name or combine(lambda name: f"{name}-weights", settings.name)
    return core.VolumeArgs(
        name="weights",
        persistent_volume_claim=core.PersistentVolumeClaimVolumeSourceArgs(
            claim_name=claim, read_only=True if weights.read_only else None
        ),
    )


def _mounts(**paths: str) -> list[core.VolumeMountArgs]:
    """Volumes mounted read-only, by name (underscores become dashes)."""
    return [
        core.VolumeMountArgs(name=name.replace("_", "-"), mount_path=path, read_only=True)
        for name, path in paths.items()
    ]


def _fetcher(settings: ServerSettings) -> core.ContainerArgs:
    weights = settings.weights
    mounts = [
        core.VolumeMountArgs(
            name="weights", mount_path=MODELS_DIR, read_only=True if weights.read_only else None
        )
    ]
    if weights.manifest is not None:
        mounts += _mounts(manifest=MANIFEST_DIR)
    if weights.token_secret is not None:
        mounts += _mounts(hub_token=TOKEN_DIR)
    environment = dict(weights.environment)
    if weights.identity == "eks":
        environment |= pod_identity.ENVIRONMENT
        mounts.append(pod_identity.token_mount())
    return core.ContainerArgs(
        name="weights",
        image=weights.image,
        image_pull_policy="IfNotPresent",
        command=["python3", "-m", "berth_serving.weights"],
        env=pods.environment(environment),
        env_from=None if weights.env_secret is None else [_secret_variables(weights.env_secret)],
        resources=weights.resources,
        security_context=pods.restricted_container(),
        volume_mounts=mounts,
    )


def _secret_variables(name: pulumi.Input[str]) -> core.EnvFromSourceArgs:
    return core.EnvFromSourceArgs(secret_ref=core.SecretEnvSourceArgs(name=name))


def _engine(settings: ServerSettings) -> core.ContainerArgs:
    spec = settings.engine
    engine = spec.engine
    mounts = [*_mounts(weights=MODELS_DIR), pods.tmp_mount("engine")]
    if spec.scratch is not None:
        mounts.append(core.VolumeMountArgs(name="scratch", mount_path=SCRATCH_DIR))
    if spec.shared_memory is not None:
        mounts.append(core.VolumeMountArgs(name="shared-memory", mount_path="/dev/shm"))  # noqa: S108 - a volume of its own
    return core.ContainerArgs(
        name="engine",
        image=spec.image,
        image_pull_policy="IfNotPresent",
        command=[*engine.command],
        args=filled(_words(spec.args)),
        env_from=[_env_from(settings, "engine")],
        resources=spec.resources,
        security_context=pods.restricted_container(),
        startup_probe=combine(
            lambda budget: (
                pods.startup_probe(
                    budget, command=engine.startup_probe, timeout=engine.startup.timeout_seconds
                )
                if budget > pods.UNPROBED_UP_TO
                else None
            ),
            settings.startup,
        ),
        liveness_probe=core.ProbeArgs(
            exec_=core.ExecActionArgs(command=[*engine.liveness_probe]),
            initial_delay_seconds=combine(
                lambda budget: int(budget) if budget <= pods.UNPROBED_UP_TO else None, settings.startup
            ),
            period_seconds=settings.liveness_period,
            timeout_seconds=engine.liveness.timeout_seconds,
            failure_threshold=3,
            # A wedged engine ends no request any more; it would only ignore SIGTERM for the pod's whole
            # grace.
            termination_grace_period_seconds=5,
        ),
        # Both containers are told to end at once; the engine is told only when the gateway has drained.
        lifecycle=core.LifecycleArgs(
            pre_stop=core.LifecycleHandlerArgs(exec_=core.ExecActionArgs(command=[*engine.drained]))
        ),
        volume_mounts=mounts,
    )


def _words(args: pulumi.Input[Sequence[str]]) -> pulumi.Input[list[str]]:
    return combine(lambda known: [*known], args)


def _gateway(settings: ServerSettings) -> core.ContainerArgs:
    ports = {"http": HTTP_PORT, "metrics": METRICS_PORT}
    if settings.access.grpc_port is not None:
        ports["grpc"] = GRPC_PORT
    mounts = [pods.tmp_mount("gateway")]
    if api_keys_secret(settings):
        mounts += _mounts(api_keys=API_KEYS_DIR)
    if settings.extras.filters is not None:
        mounts += _mounts(filters=FILTERS_DIR)
    if settings.extras.tls_secret is not None:
        mounts += _mounts(tls=TLS_DIR)
    tls = settings.extras.tls_secret is not None
    return core.ContainerArgs(
        name="gateway",
        image=settings.gateway_image,
        image_pull_policy="IfNotPresent",
        command=["python3", "-m", "berth_serving.gateway"],
        env_from=[_env_from(settings, "gateway")],
        ports=[
            core.ContainerPortArgs(name=name, container_port=port, protocol="TCP")
            for name, port in ports.items()
        ],
        resources=settings.gateway_resources,
        security_context=pods.restricted_container(),
        readiness_probe=pods.http_probe("/ready", settings.readiness_period, failures=2, tls=tls),
        liveness_probe=pods.http_probe(
            "/health", settings.liveness_period, failures=3, grace=5, delay=GATEWAY_START_SECONDS, tls=tls
        ),
        lifecycle=combine(pods.pre_stop, settings.pre_stop),
        volume_mounts=mounts,
    )


def _env_from(settings: ServerSettings, container: str) -> core.EnvFromSourceArgs:
    name = combine(lambda name: f"{name}-{container}", settings.name)
    return core.EnvFromSourceArgs(config_map_ref=core.ConfigMapEnvSourceArgs(name=name))

"""Models on SageMaker: an endpoint instead of a Deployment."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import pulumi
from berth_components.arguments import combine
from berth_components.model_server_settings import read
from berth_components.model_server_weights import Weights

from berth_stacks import build
from berth_stacks.blame import blame
from berth_stacks.component_rules import server_arguments
from berth_stacks.load import Loaded

if TYPE_CHECKING:
    from berth_stacks.errors import Path
    from berth_stacks.sites import Place

DRAIN_SECONDS = 20
"""SageMaker kills 30 seconds after SIGTERM (your-algorithms-inference-code in its developer guide); some of
them are for gateway and engine to end."""


def serve_by_sagemaker(
    loaded: Loaded, at: build.Placed, images: Mapping[str, str], place: "Place"
) -> dict[str, Any]:
    """Declare a model's endpoint.

    Raises:
        SettingsError: the component refuses a setting.
    """
    from berth_components import aws  # noqa: PLC0415 - 121 MB that other grounds do not need

    ground = at.site.sagemaker
    if ground is None:
        raise AssertionError(at.title)
    args = ground.model_dump(exclude_none=True, exclude={"region", "allowed_accounts", "environment"})
    image = images[at.image_roles[0]]
    # SageMaker takes images from ECR only; one that is not known yet gets an account that nobody has.
    unknown = f"000000000000.dkr.ecr.{ground.region}.amazonaws.com/unpinned:unpinned"
    args["image"] = unknown if image.startswith(build.UNPINNED) else image
    args["environment"] = {**environment(loaded, at), **(ground.environment or {})}
    role: Path = ("images", "refs", at.image_roles[0])
    with blame(loaded, ("sites", at.site_key, "sagemaker"), {"image": role}):
        endpoint = aws.SageMakerEndpoint(at.name, cast("aws.SageMakerEndpointArgs", args), place.options)
    return {
        "site": at.site_key,
        "model": at.model_id,
        "endpoint": endpoint.endpoint_name,
        "endpointArn": endpoint.endpoint_arn,
    }


def environment(loaded: Loaded, at: build.Placed) -> dict[str, pulumi.Input[str]]:
    """What the one container is told: gateway, engine and fetcher as in a model server's pod."""
    given = server_arguments(loaded.settings, loaded.name, at, loaded.pins)
    settings = read(given, at.model_key, build.models_dir(at))
    engine = settings.engine

    def command(args: Sequence[str]) -> str:
        return json.dumps([*engine.engine.command, *args])

    return {
        **settings.gateway_config,
        **cast("Mapping[str, pulumi.Input[str]]", engine.environment),
        "BERTH_DRAIN_SECONDS": str(DRAIN_SECONDS),
        "BERTH_ENGINE_COMMAND": combine(command, engine.args),
        "BERTH_MANAGED_CLOUD": "sagemaker",
        **_weights(settings.weights),
    }


def _weights(weights: Weights) -> dict[str, pulumi.Input[str]]:
    """How the files are verified: nothing is brought, for the container reaches nobody."""
    if weights.manifest is None:
        return {**weights.environment}
    # It lies beside the files, and is worth what its digest says.
    told = {key: value for key, value in weights.environment.items() if key != "BERTH_WEIGHTS_MANIFEST"}
    digest = combine(lambda text: hashlib.sha256(text.encode()).hexdigest(), weights.manifest)
    return {**told, "BERTH_WEIGHTS_MANIFEST_SHA256": digest}

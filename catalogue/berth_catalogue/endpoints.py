"""Images that hold gateway and engine in one, for clouds that run a model as one container.

from berth_catalogue.endpoints import container_build, endpoint_role
endpoint_role("engine-vllm")  # sagemaker-vllm
container_build("sagemaker-vllm")  # docker build …
"""

from __future__ import annotations

from berth_catalogue.engines import engines

ROLE = "sagemaker-"
"""What their roles begin with; Vertex AI takes the same images."""
CONTAINERFILE = "images/Containerfile.endpoint-gpu"
_ENGINE = "engine-"


def endpoint_role(engine_role: str) -> str:
    """Role of the image with the engine of another role in it."""
    return ROLE + engine_role.removeprefix(_ENGINE)


def container_build(role: str) -> str | None:
    """The command that builds an endpoint's image on the engine's official one; None for other roles.

    What stands on an image of somebody else's needs a container builder: docker, podman or buildah.
    """
    if not role.startswith(ROLE):
        return None
    for engine in engines().values():
        for build in engine.builds.values():
            if build.reference and endpoint_role(build.role) == role:
                return (
                    f"docker build -f {CONTAINERFILE} --build-arg ENGINE={build.reference} "
                    f"--build-arg ROLE={role} -t {role} ."
                )
    return None

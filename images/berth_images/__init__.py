"""How each container image is built, and how it reaches a registry."""

from berth_images.builder import BuiltImage, Progress, build, build_all, prepare, roles
from berth_images.errors import ImagesError

__all__ = ["BuiltImage", "ImagesError", "Progress", "build", "build_all", "prepare", "roles"]

"""What the server says about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from berth_serving.contracts.model import VERSION

if TYPE_CHECKING:
    from berth_serving.contracts.model import Limits
    from berth_serving.settings import GatewaySettings


def info(settings: GatewaySettings, limits: Limits) -> dict[str, Any]:
    """TGI's `/info`."""
    return {
        "model_id": settings.model_id,
        "model_sha": settings.model_revision or None,
        "model_pipeline_tag": "text-generation",
        "max_concurrent_requests": settings.max_concurrent_requests,
        "max_best_of": 1 if "best_of" in limits.unsupported else limits.max_best_of,
        "max_stop_sequences": limits.max_stop_sequences,
        "max_input_tokens": limits.max_input_tokens,
        "max_total_tokens": limits.max_total_tokens,
        "validation_workers": 1,
        "max_client_batch_size": 1,
        "router": "berth",
        "version": VERSION,
        "sha": None,
        "docker_label": None,
    }

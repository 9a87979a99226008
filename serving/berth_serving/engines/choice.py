"""The adapter of the engine that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berth_serving.engines.llama_cpp_client import LlamaCppEngine
from berth_serving.engines.sglang_client import SglangEngine
from berth_serving.engines.tgi_client import TgiEngine
from berth_serving.engines.vllm_client import VllmEngine

if TYPE_CHECKING:
    from berth_serving.engines.protocol import Engine
    from berth_serving.settings import GatewaySettings


def make_engine(settings: GatewaySettings) -> Engine:
    """The adapter for BERTH_ENGINE, which the settings have checked."""
    url, stall, slots = settings.engine_url, settings.engine_stall, settings.engine_slots
    match settings.engine:
        case "vllm":
            return VllmEngine(url, stall=stall, slots=slots, device=settings.engine_device)
        case "sglang":
            return SglangEngine(url, stall=stall, slots=slots)
        case "tgi":
            return TgiEngine(url, stall=stall)
        case _:
            return LlamaCppEngine(url, stall=stall)

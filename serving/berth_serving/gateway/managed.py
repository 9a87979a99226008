"""Routes for managed clouds, each only in the mode made for it, where the cloud authenticates its callers.

SageMaker calls `/ping` and `/invocations` on port 8080; behind it stands IAM. Vertex AI calls the routes that
AIP_HEALTH_ROUTE and AIP_PREDICT_ROUTE name (here `/ping` and `/vertex`, too); behind it stands IAM as well.
Every other route still needs a key, and is closed where there is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from berth_serving.contracts import openai as openai_contract
from berth_serving.contracts import tgi
from berth_serving.contracts.model import text_of
from berth_serving.errors import GenerationFailed, ValidationError
from berth_serving.gateway.exchange import JSON

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from berth_serving.contracts.fields import Fields
    from berth_serving.contracts.model import Asked, Limits
    from berth_serving.gateway.app import Gateway
    from berth_serving.gateway.exchange import Exchange
    from berth_serving.settings import GatewaySettings

    Handler = Callable[[Exchange], Awaitable[None]]

_MOST_INSTANCES = 64


def routes(settings: GatewaySettings, gateway: Gateway) -> Iterator[tuple[str, str, Handler]]:
    """Path, method and handler of each route of a cloud's mode; none where there is no mode."""
    if settings.managed_cloud == "sagemaker":
        yield "/ping", "GET", gateway.ready
        yield "/invocations", "POST", _Invocations(gateway)
    elif settings.managed_cloud == "vertex":
        for path in {"/ping", settings.vertex_health_route}:
            yield path, "GET", gateway.ready
        for path in {"/vertex", settings.vertex_predict_route}:
            yield path, "POST", _Vertex(gateway)


class _Invocations:
    """SageMaker's one route: TGI's, or OpenAI's chat or completion, by the field that is there."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        gateway = self._gateway
        read = await gateway.asked(exchange)
        present = [name for name in ("inputs", "messages", "prompt") if read.has(name)]
        if len(present) != 1:
            raise ValidationError("exactly one of `inputs`, `messages` and `prompt` must be given")
        if present == ["messages"]:
            await gateway.chat(exchange, read)
        elif present == ["prompt"]:
            await gateway.complete(exchange, read)
        else:
            asked, options = tgi.parse(read, gateway.limits, compat=True, stream=False)
            await gateway.run(exchange, asked, tgi.TgiAnswer(options))


def parse_vertex(read: Fields, limits: Limits) -> list[Asked]:
    """Vertex AI's `{"instances": […]}`, each one a TGI request or a chat; none of them streams.

    Raises:
        ValidationError: naming field, value and what is allowed.
    """

    def instance(one: Fields) -> Asked:
        if one.has("messages") and not one.has("inputs"):
            asked, _ = openai_contract.parse_chat(one, limits)
        else:
            asked, _ = tgi.parse(one, limits, compat=False, stream=False)
        if asked.stream:
            raise one.wrong("stream", "false: predictions are not streamed")
        return asked

    instances = read.items("instances", instance, most=_MOST_INSTANCES)
    read.mapping("parameters")
    read.finish()
    return instances


class _Vertex:
    """Vertex AI's one route: several requests in, a list of texts out."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request; its instances one after another, so that it takes one place like any other."""
        gateway = self._gateway
        predictions = []
        for asked in parse_vertex(await gateway.asked(exchange), gateway.limits):
            async with gateway.generating(exchange, asked) as generation:
                events = [event async for event in generation.tokens()]
                finished = generation.finished
            if finished is None:
                raise GenerationFailed("Request failed during generation: the engine's answer has no end")
            predictions.append(text_of(events) + finished.stop_text)
        gateway.succeeded()
        await exchange.respond(200, msgspec.json.encode({"predictions": predictions}), [JSON])

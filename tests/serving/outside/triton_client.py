"""What Triton's client does with the gRPC port: run in its own environment with host:port, key, model."""

from __future__ import annotations

import queue
import sys
from typing import Any

import numpy as np
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

ADDRESS, KEY, MODEL = sys.argv[1:]
HEADERS = {"authorization": f"Bearer {KEY}"}


def text(value: str) -> Any:
    tensor = grpc.InferInput("text_input", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([value.encode()], dtype=np.object_))
    return tensor


def main() -> None:
    client = grpc.InferenceServerClient(ADDRESS)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.get_server_metadata(headers=HEADERS).name == "berth"
    outputs = [one.name for one in client.get_model_metadata(MODEL, headers=HEADERS).outputs]
    assert outputs[0] == "text_output"
    answer = client.infer(
        MODEL, [text("1, 2, 3,")], headers=HEADERS, request_id="7", parameters={"max_new_tokens": 6}
    )
    whole = answer.as_numpy("text_output")[0].decode()
    assert whole.strip().startswith("4")
    assert answer.as_numpy("output_tokens")[0] == 6
    assert answer.get_response().id == "7"
    status = ""
    try:
        client.infer(MODEL, [text("Hello")])
    except InferenceServerException as error:
        status = str(error.status())
    assert "UNAUTHENTICATED" in status
    came: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(callback=lambda result, error: came.put((result, error)), headers=HEADERS)
    client.async_stream_infer(MODEL, [text("1, 2, 3,")], parameters={"max_new_tokens": 6})
    pieces = []
    final = False
    while not final:
        result, error = came.get(timeout=60)
        assert error is None, error
        pieces.append(result.as_numpy("text_output")[0].decode())
        final = result.get_response().parameters["triton_final_response"].bool_param
    client.stop_stream()
    assert "".join(pieces) == whole
    client.close()


main()

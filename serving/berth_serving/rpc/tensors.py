"""From the Open Inference Protocol's tensors to TGI's request, validated as on every route, and back.

    inputs    text_input           BYTES [1]   the prompt
              sampling_parameters  BYTES [1]   JSON object of TGI's `parameters`; may be left out
    outputs   text_output          BYTES [1]   what was generated
              finish_reason        BYTES [1]   length, eos_token or stop_sequence
              input_tokens         INT64 [1]
              output_tokens        INT64 [1]

TGI's parameters that are numbers, booleans or strings can be the request's `parameters` as well. Names of
tensors are those of Triton's vLLM backend, so that its clients fit.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import msgspec

from berth_serving.errors import ValidationError
from berth_serving.rpc import open_inference_grpc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from berth_serving.engines.protocol import Finished

INPUTS = {"text_input": "BYTES", "sampling_parameters": "BYTES"}
OUTPUTS = {
    "text_output": "BYTES",
    "finish_reason": "BYTES",
    "input_tokens": "INT64",
    "output_tokens": "INT64",
}
# What Triton's clients send along, and means nothing here: a call says by its name whether it streams.
_IGNORED = frozenset({"stream", "exclude_input_in_output", "return_finish_reason"})
_ONE = ([1], [1, 1])
_LENGTH = struct.Struct("<I")


def body_of(request: pb.ModelInferRequest) -> dict[str, Any]:
    """The TGI request that tensors and parameters say.

    Raises:
        ValidationError: naming the tensor or parameter, and what is allowed.
    """
    texts = _texts(request)
    if "text_input" not in texts:
        raise ValidationError("the tensor `text_input` (BYTES, [1]) must be there", param="text_input")
    parameters: dict[str, Any] = {}
    for name, value in request.parameters.items():
        kind = value.WhichOneof("parameter_choice")
        if kind is not None and name not in _IGNORED:
            parameters[name] = getattr(value, kind)
    if "sampling_parameters" in texts:
        try:
            given = msgspec.json.decode(texts["sampling_parameters"] or "{}")
        except (msgspec.MsgspecError, RecursionError):
            given = None
        if not isinstance(given, dict):
            raise ValidationError("`sampling_parameters` must be a JSON object", param="sampling_parameters")
        if twice := parameters.keys() & given.keys():
            raise ValidationError(
                f"`{min(twice)}` is in `parameters` and in `sampling_parameters`", param=min(twice)
            )
        parameters |= given
    # As TGI has it: without parameters it samples, with them it decodes greedily unless they say so.
    return {"inputs": texts["text_input"], **({"parameters": parameters} if parameters else {})}


def _texts(request: pb.ModelInferRequest) -> dict[str, str]:
    raw = request.raw_input_contents
    tensors = [one for one in request.inputs if one.name not in _IGNORED or one.datatype != "BOOL"]
    if raw and len(raw) != len(request.inputs):
        raise ValidationError(
            f"`raw_input_contents` must have {len(request.inputs)} entries, one an input, got {len(raw)}"
        )
    texts = {}
    for place, tensor in enumerate(request.inputs):
        if tensor not in tensors:
            continue
        name = tensor.name[:60]
        if tensor.name not in INPUTS or tensor.name in texts:
            raise ValidationError(
                f"the tensor `{name}` is unknown or twice there; known: {', '.join(INPUTS)}"
            )
        if tensor.datatype != "BYTES" or [*tensor.shape] not in _ONE:
            raise ValidationError(
                f"the tensor `{name}` must be BYTES of shape [1], got {tensor.datatype[:20]} "
                f"of shape {[*tensor.shape][:8]}",
                param=name,
            )
        elements = _elements(raw[place], name) if raw else [*tensor.contents.bytes_contents]
        if len(elements) != 1:
            raise ValidationError(
                f"the tensor `{name}` must hold one element, got {len(elements)}", param=name
            )
        try:
            texts[tensor.name] = elements[0].decode()
        except UnicodeDecodeError:
            raise ValidationError(f"the tensor `{name}` must hold UTF-8", param=name) from None
    return texts


def _elements(raw: bytes, name: str) -> list[bytes]:
    """The elements of a raw BYTES tensor: each has its length before it, in four bytes, the least first."""
    elements, at = [], 0
    while at < len(raw):
        if at + _LENGTH.size > len(raw):
            raise ValidationError(f"the tensor `{name}` ends within an element's length", param=name)
        (size,) = _LENGTH.unpack_from(raw, at)
        at += _LENGTH.size
        if at + size > len(raw):
            raise ValidationError(f"the tensor `{name}` ends within an element", param=name)
        elements.append(raw[at : at + size])
        at += size
    return elements


def wanted(request: pb.ModelInferRequest) -> list[str]:
    """The outputs that are asked for; all of them where none is.

    Raises:
        ValidationError: one is not known.
    """
    names = [one.name for one in request.outputs]
    for name in names:
        if name not in OUTPUTS:
            known = ", ".join(OUTPUTS)
            raise ValidationError(f"the output `{name[:60]}` is unknown; known: {known}", param=name[:60])
    return names or [*OUTPUTS]


def response(
    request: pb.ModelInferRequest,
    model: str,
    version: str,
    values: Mapping[str, bytes | int],
    names: Sequence[str],
) -> pb.ModelInferResponse:
    """An answer; raw where the question was."""
    made = pb.ModelInferResponse(model_name=model, model_version=version, id=request.id)
    for name in names:
        if name not in values:
            continue
        value = values[name]
        tensor = made.outputs.add(name=name, datatype=OUTPUTS[name], shape=[1])
        if request.raw_input_contents:
            raw = struct.pack("<q", value) if isinstance(value, int) else _LENGTH.pack(len(value)) + value
            made.raw_output_contents.append(raw)
        elif isinstance(value, int):
            tensor.contents.int64_contents.append(value)
        else:
            tensor.contents.bytes_contents.append(value)
    return made


def ended(finished: Finished) -> dict[str, bytes | int]:
    """What is known once a generation has ended."""
    return {
        "finish_reason": finished.reason.encode(),
        "input_tokens": finished.input_tokens,
        "output_tokens": finished.output_tokens,
    }

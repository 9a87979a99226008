"""What a stack asks of the planner, for one model at one site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from berth_catalogue.planning import Quantisation, planning

if TYPE_CHECKING:
    from berth_catalogue.architecture import Architecture


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The load that is planned for a model at a site.

    Attributes:
        requests_per_second: at the busiest.
        input_tokens: of a request, on average.
        output_tokens: of an answer, on average.
        first_token_seconds: what 95 % of the first tokens must come within; None where nothing is promised.
        utilisation: share of a replica's measured throughput that is planned on, above 0 up to 1.
    """

    requests_per_second: float
    input_tokens: int
    output_tokens: int
    first_token_seconds: float | None
    utilisation: float

    def __str__(self) -> str:
        """As a person reads it."""
        within = (
            "" if self.first_token_seconds is None else f", first token in {self.first_token_seconds:g} s"
        )
        return (
            f"{self.requests_per_second:g} requests/s of {self.input_tokens} tokens in and "
            f"{self.output_tokens} out, at {self.utilisation:.0%} of the measured throughput{within}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One model at one site.

    Attributes:
        subject: `<site>/<model>`.
        name: the model's key in the catalogue, or the file that describes it.
        architecture: its numbers.
        quantised_as: how its weights are quantised, as settings, catalogue or file say.
        quantisation: what that takes; None where no data say.
        file_bytes: size of a file that holds all weights; 0 where there are several.
        engine: its name in the catalogue.
        version: the engine's version; "" where its image is ours.
        device: what it computes on: cpu, gpu, neuron, tpu.
        ground: aws, gcp or own.
        region: the cloud's region; on own hardware the site's name.
        capacity: how its machines are bought.
        prefix: before machines' names: ml. on SageMaker, which sells them under names of its own.
        accelerator: key of the accelerator; "" on the CPU.
        accelerators: of each replica.
        simulated: whether they exist for the scheduler only.
        tensor_parallel: devices that each layer is cut over.
        pipeline_parallel: groups that the layers are spread over.
        fraction: share of the memory that the engine takes; None for its own.
        cache_type: type of the cache, as the settings say; "" for the engine's own.
        slots: requests at once.
        max_total: tokens of a request.
        memory_limit: of the engine's container, bytes; 0 where nobody shares the machine.
        cpus: cores that the engine may use; 0 where nobody says.
        most_replicas: at the most.
        load: what is planned; None where nothing is.
    """

    subject: str
    name: str
    architecture: Architecture
    quantised_as: str
    quantisation: Quantisation | None
    file_bytes: int
    engine: str
    version: str
    device: str
    ground: str
    region: str
    capacity: str
    prefix: str
    accelerator: str
    accelerators: int
    simulated: bool
    tensor_parallel: int
    pipeline_parallel: int
    fraction: float | None
    cache_type: str
    slots: int
    max_total: int
    memory_limit: int
    cpus: float = 0
    most_replicas: int = 1
    load: Load | None = None


def quantised(name: str) -> Quantisation | None:
    """What a quantisation takes, by its name in settings and catalogue; None where no data say."""
    return planning().quantisations.get("bf16" if name == "BF16" else name)

"""What a decoder is made of: the numbers that its memory is computed from.

model("qwen3-30b-a3b").architecture.parts.experts  # weights of the experts, of 30.5 billion
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from berth_catalogue.reading import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """A mixture of experts in place of the feed-forward part.

    Attributes:
        count: experts of a layer.
        per_token: those that a token passes.
        intermediate_size: width of one.
        shared_size: width of those that every token passes, together; 0 for none.
        dense_layers: layers, from the first on, that have a plain feed-forward part instead.
    """

    count: int
    per_token: int
    intermediate_size: int
    shared_size: int = 0
    dense_layers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """Multi-head latent attention (MLA): one compressed key and value for all heads.

    Attributes:
        kv_rank: values of the compressed key and value.
        rope_dim: values of the key that carries the position.
        nope_dim: values of a head's key without position.
        value_dim: values of a head's value.
        query_rank: values of the compressed query; 0 where it is not compressed.
    """

    kv_rank: int
    rope_dim: int
    nope_dim: int
    value_dim: int
    query_rank: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Layers that see the last tokens only.

    Attributes:
        tokens: how many they see.
        layers: how many layers see no more.
    """

    tokens: int
    layers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """How many weights each part has; quantisations leave some of them as they are."""

    embeddings: int
    attention: int
    feed_forward: int
    experts: int
    norms: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.embeddings + self.attention + self.feed_forward + self.experts + self.norms


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The numbers of a decoder.

    Attributes:
        layers: decoder layers.
        hidden_size: width of the residual stream.
        intermediate_size: width of the feed-forward part.
        attention_heads: query heads; a tensor parallel degree divides them.
        kv_heads: key and value heads.
        head_dim: values of one head.
        vocabulary: rows of the embedding, padding included.
        attention_bias: whether queries, keys and values have biases.
        tied_embeddings: whether input and output share one embedding.
        query_key_norm: whether queries and keys are normalised, by head.
        experts: a mixture of experts; None for a plain feed-forward part.
        latent: latent attention; None for keys and values by head.
        window: layers that see the last tokens only; None where all see everything.
    """

    layers: int
    hidden_size: int
    intermediate_size: int
    attention_heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    attention_bias: bool = False
    tied_embeddings: bool = False
    query_key_norm: bool = False
    experts: Experts | None = None
    latent: Latent | None = None
    window: Window | None = None

    @property
    def parameters(self) -> int:
        """How many weights these numbers make."""
        return self.parts.total

    @property
    def parts(self) -> Parts:
        """How many weights each part has."""
        experts = self.experts
        dense = self.layers if experts is None else experts.dense_layers
        sparse = self.layers - dense
        feed_forward = dense * 3 * self.hidden_size * self.intermediate_size
        of_experts = 0
        if experts is not None:
            router = self.hidden_size * experts.count
            feed_forward += sparse * (3 * self.hidden_size * experts.shared_size + router)
            of_experts = sparse * experts.count * 3 * self.hidden_size * experts.intermediate_size
        return Parts(
            embeddings=self.vocabulary * self.hidden_size * (1 if self.tied_embeddings else 2),
            attention=self.layers * self._attention(),
            feed_forward=feed_forward,
            experts=of_experts,
            norms=self.layers * self._norms() + self.hidden_size,
        )

    @property
    def kv_values(self) -> int:
        """Values that a token keeps in the cache, in each layer."""
        if self.latent is not None:
            return self.latent.kv_rank + self.latent.rope_dim
        return 2 * self.kv_heads * self.head_dim

    def kv_bytes_per_token(self, bytes_per_value: int = 2) -> int:
        """Memory that one token's keys and values take in all layers, in bytes, windows left aside."""
        return self.layers * self.kv_values * bytes_per_value

    def _attention(self) -> int:
        latent, width = self.latent, self.hidden_size
        if latent is not None:
            query = self.attention_heads * (latent.nope_dim + latent.rope_dim)
            asked = latent.query_rank * (width + query) if latent.query_rank else width * query
            kept = width * (latent.kv_rank + latent.rope_dim)
            spread = latent.kv_rank * self.attention_heads * (latent.nope_dim + latent.value_dim)
            return asked + kept + spread + self.attention_heads * latent.value_dim * width
        wide, narrow = self.attention_heads * self.head_dim, self.kv_heads * self.head_dim
        biases = wide + 2 * narrow if self.attention_bias else 0
        return width * (2 * wide + 2 * narrow) + biases

    def _norms(self) -> int:
        inner = 2 * self.head_dim if self.query_key_norm else 0
        if self.latent is not None:
            inner = self.latent.kv_rank + self.latent.query_rank
        return 2 * self.hidden_size + inner


def read_architecture(entry: Entry) -> Architecture:
    """The architecture that an entry of models.yaml describes.

    Raises:
        CatalogueError: a key is missing, unknown, or has a wrong value.
    """
    made = Architecture(
        layers=entry.whole("layers"),
        hidden_size=entry.whole("hidden_size"),
        intermediate_size=entry.whole("intermediate_size"),
        attention_heads=entry.whole("attention_heads"),
        kv_heads=entry.whole("kv_heads"),
        head_dim=entry.whole("head_dim"),
        vocabulary=entry.whole("vocabulary"),
        attention_bias=entry.text("attention_bias", ("qkv", "none")) == "qkv",
        tied_embeddings=entry.has("embeddings") and entry.text("embeddings", ("shared",)) == "shared",
        query_key_norm=entry.has("query_key_norm")
        and entry.text("query_key_norm", ("by-head",)) == "by-head",
        experts=_experts(entry.entry("experts")) if entry.has("experts") else None,
        latent=_latent(entry.entry("latent")) if entry.has("latent") else None,
    )
    entry.end()
    return made


def _experts(entry: Entry) -> Experts:
    made = Experts(
        count=entry.whole("count"),
        per_token=entry.whole("per_token"),
        intermediate_size=entry.whole("intermediate_size"),
        shared_size=entry.maybe_whole("shared_size") or 0,
        dense_layers=entry.maybe_whole("dense_layers") or 0,
    )
    entry.end()
    return made


def _latent(entry: Entry) -> Latent:
    made = Latent(
        kv_rank=entry.whole("kv_rank"),
        rope_dim=entry.whole("rope_dim"),
        nope_dim=entry.whole("nope_dim"),
        value_dim=entry.whole("value_dim"),
        query_rank=entry.maybe_whole("query_rank") or 0,
    )
    entry.end()
    return made

"""Attention and its linear relatives, as a person writes them: one class a kind."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from moe_plan.spec.fields import Count, Frozen, Positive, Projection
from moe_plan.spec.rope import Rope, Temperature


class Attention(Frozen):
    """Multi-head, grouped-query or multi-query attention (arXiv 2305.13245)."""

    kind: Literal["gqa"]
    heads: Count
    """Query heads."""
    kv_heads: Count
    """Key and value heads; equal to `heads` for multi-head attention."""
    head_dim: Count
    value_dim: Count | None = None
    """Width of a value head where it differs from `head_dim` (MiMo)."""
    q_rank: Count | None = None
    """Width of a low-rank query (Step3): hidden -> q_rank -> norm -> heads."""
    bias: tuple[Projection, ...] = ()
    """Projections that add a bias."""
    qk_norm: Literal["head", "whole", "unit"] | None = None
    """A norm on queries and keys: one `head_dim` vector shared by the heads, one over all heads, or
    without weights (Llama 4)."""
    qk_norm_after_rope: bool = False
    """Queries and keys are normed after their rotation, not before (Hunyuan, Llama 4)."""
    value_norm: bool = False
    """A norm without weights on the values (Gemma 4)."""
    rope: Rope | None = Rope()
    """Rotary positions; null where the layer has none (Jamba, every fourth layer of Llama 4)."""
    scale: Positive | None = None
    """Factor on the scores before softmax; by default head_dim ** -0.5."""
    temperature: Temperature | None = None
    """Queries grow with their position (Llama 4, in the layers without rotary positions)."""
    softcap: Positive | None = None
    """Scores are squeezed into plus or minus this by a tanh (Grok-1)."""
    clip: Positive | None = None
    """Queries, keys and values are clipped to plus or minus this (DBRX)."""
    gate: bool = False
    """An output gate computed from the layer's input, as wide as the heads' output (Qwen3-Next)."""
    sinks: bool = False
    """One learned attention-sink logit per query head (gpt-oss)."""
    window: Count | None = None
    """Sliding window: a token sees at most this many tokens, itself included."""
    chunk: Count | None = None
    """Chunked attention: a token sees its own chunk of this many tokens (Llama 4)."""
    keys_as_values: bool = False
    """No value projection: values are made from the keys' projection (Gemma 4). Both are cached."""
    shared_kv: bool = False
    """Reuses the keys and values of an earlier layer: no projection and no cache of its own."""
    position_buckets: Count | None = None
    """A learned bias per relative-position bucket and head (T5)."""
    position_distance: Count = 128
    """Distance from which on all relative positions share the last bucket."""
    shared_positions: bool = False
    """Adds the biases of an earlier layer's table of relative positions (T5)."""
    causal: bool = True
    """False in encoders and vision towers: a token sees the whole sequence."""
    cross: bool = False
    """Keys and values come from the encoder's output; the cache grows with the source."""


class Indexer(Frozen):
    """Lightning indexer of sparse attention (DeepSeek-V3.2): scores all keys, keeps `top_k`."""

    heads: Count
    head_dim: Count
    top_k: Count
    shared: bool = False
    """Reuses the choice of an earlier layer's indexer: no weights, keys or scores of its own (GLM-5.2)."""
    interleaved: bool = False
    """Beside MLA, the indexer's own heads turn their first rope_dim channels by the attention's angles; the
    pairs are neighbours (GLM-5) or stand half of these channels apart (DeepSeek-V3.2)."""


class MlaAttention(Frozen):
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434)."""

    kind: Literal["mla"]
    heads: Count
    q_rank: Count | None = None
    """Width of the compressed query; null where queries are projected directly (V2-Lite)."""
    kv_rank: Count
    """Width of the cached latent."""
    nope_dim: Count
    rope_dim: Count
    v_dim: Count
    indexer: Indexer | None = None
    rope: Rope | None = Rope(interleaved=True)
    """Rotary positions of the rope channels; null where they are not rotated (Kimi Linear)."""
    scale: Positive | None = None
    """Factor on the scores before softmax; by default (nope_dim + rope_dim) ** -0.5."""
    temperature: Temperature | None = None
    """Queries grow with their position (Mistral Small 4)."""
    rank_scaling: bool = False
    """Latents are multiplied by sqrt(hidden / rank) (LongCat)."""
    eps: Positive = 1e-6
    """Of the norms of the latents, which have their own in every release."""


class CompressedAttention(Frozen):
    """A window of shared key-value vectors plus compressed older ones (DeepSeek-V4)."""

    kind: Literal["compressed"]
    heads: Count
    head_dim: Count
    """Width of the one vector that serves every head as key and as value."""
    q_rank: Count
    o_groups: Count
    o_rank: Count
    """The output projection is low-rank in `o_groups` groups of `o_rank`."""
    sinks: bool = False
    rope: Rope | None = Rope(interleaved=True)
    """Rotary positions of the last `rope.dim` channels; those of compressed entries are the entry's."""
    window: Count
    ratio: Count | None = None
    """One compressed entry for this many tokens; null where the layer has only its window."""
    overlap: bool = False
    """Neighbouring compression windows overlap: the compressor projects to twice the width."""
    indexer: Indexer | None = None


class AttentionExperts(Frozen):
    """Mixture of attention experts: routed query and output projections, shared keys (JetMoE)."""

    kind: Literal["moa"]
    experts: Count
    top_k: Count
    heads: Count
    """Heads of one expert, equal to the shared key-value heads."""
    head_dim: Count
    output_bias: bool = False
    rope: Rope | None = Rope()


class GatedDelta(Frozen):
    """Gated delta rule (arXiv 2412.06464), as in Qwen3-Next."""

    kind: Literal["gated-delta"]
    key_heads: Count
    value_heads: Count
    key_dim: Count
    value_dim: Count
    conv: Count
    """Taps of the short causal convolution over queries, keys and values."""


class KimiDelta(Frozen):
    """Kimi delta attention: a gated delta rule with a decay per channel (arXiv 2510.26692)."""

    kind: Literal["kda"]
    heads: Count
    head_dim: Count
    conv: Count


class LightningAttention(Frozen):
    """Linear attention with a fixed decay per head (MiniMax-01, arXiv 2501.08313)."""

    kind: Literal["lightning"]
    heads: Count
    head_dim: Count
    eps: Positive = 1e-6
    """Of the norm on its output, which has its own."""


class Mamba1(Frozen):
    """Selective state space (arXiv 2312.00752), with Jamba's norms on dt, B and C where set."""

    kind: Literal["mamba1"]
    inner: Count
    state: Count
    dt_rank: Count
    conv: Count
    conv_bias: bool = True
    inner_norms: bool = False


class Mamba2(Frozen):
    """State space duality (arXiv 2405.21060)."""

    kind: Literal["mamba2"]
    heads: Count
    head_dim: Count
    state: Count
    groups: Count
    conv: Count
    conv_bias: bool = True


class ShortConv(Frozen):
    """Gated short convolution (LFM2)."""

    kind: Literal["short-conv"]
    taps: Count


AnyRecurrence = GatedDelta | KimiDelta | LightningAttention | Mamba1 | Mamba2 | ShortConv

AnyAttention = Annotated[
    Attention | MlaAttention | CompressedAttention | AttentionExperts | AnyRecurrence,
    Field(discriminator="kind"),
]

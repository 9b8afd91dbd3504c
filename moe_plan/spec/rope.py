"""Rotary position embeddings (arXiv 2104.09864) and the ways in which releases stretch them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from moe_plan.spec.fields import Count, Frozen, Positive


class Yarn(Frozen):
    """YaRN (arXiv 2309.00071): low frequencies are stretched, attention is made sharper."""

    kind: Literal["yarn"]
    factor: Positive
    original_context: Count
    beta_fast: Positive = 32.0
    beta_slow: Positive = 1.0
    mscale: Positive | None = None
    """DeepSeek's temperature of the rotated channels."""
    mscale_all_dim: Positive | None = None
    """DeepSeek's temperature of all channels: multiplies the softmax scale by its square."""
    attention_factor: Positive | None = None
    """Factor on cosines and sines, where it is given outright (DeepSeek-V4: 1); else 0.1 ln(factor) + 1, or
    with the two above, 0.1 mscale ln(factor) + 1 over 0.1 mscale_all_dim ln(factor) + 1."""
    truncate: bool = True
    """Whether the corrected range ends at whole channels (gpt-oss: it does not)."""


class Llama3(Frozen):
    """Llama 3.1: wavelengths beyond the original context are stretched, with a ramp."""

    kind: Literal["llama3"]
    factor: Positive
    original_context: Count
    low_freq_factor: Positive = 1.0
    high_freq_factor: Positive = 4.0


RopeScaling = Annotated[Yarn | Llama3, Field(discriminator="kind")]


class Rope(Frozen):
    """Rotary embedding of queries and keys."""

    theta: Positive = 10_000.0
    dim: Count | None = None
    """Channels of a head that are rotated, its first (DeepSeek-V4: its last); by default all of them."""
    interleaved: bool = False
    """Neighbouring channels make a pair, instead of a channel of each half."""
    proportional: bool = False
    """Frequencies are those of the whole head; `dim` says how many of them turn at all (Gemma 4)."""
    scaling: RopeScaling | None = None


class Temperature(Frozen):
    """Queries that grow with their position: times 1 + beta ln(1 + floor((position + first) / span))."""

    beta: Positive
    span: Count
    """Tokens after which the factor first grows."""
    first: Annotated[int, Field(ge=0, le=1)] = 0
    """What the first token counts as: 0 (Mistral Small 4) or 1 (Llama 4)."""

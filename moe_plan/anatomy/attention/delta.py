"""Gated delta rules: Gated DeltaNet (arXiv 2412.06464) and Kimi Delta Attention (arXiv 2510.26692).

A token reads the state with its key, writes an outer product, and reads it with its query: 6 FLOPs for
each element of the state. Decays and norms are elementwise and, like softmax, not counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.anatomy.inventory import Body, Operation, State, Weight

if TYPE_CHECKING:
    from moe_plan.spec.model import GatedDelta, KimiDelta

MIXER = "linear_attention_or_ssm"


def gated_delta_body(spec: GatedDelta, hidden: int) -> Body:
    """Qwen3-Next's mixer: q, k, v and z in one projection, b and a in another, as its checkpoint has them."""
    key_width, value_width = spec.key_heads * spec.key_dim, spec.value_heads * spec.value_dim
    channels, tp = 2 * key_width + value_width, spec.key_heads
    heads = spec.value_heads
    weights = (
        Weight("attention.in_qkvz", MIXER, (channels + value_width, hidden), max_tp=tp),
        Weight("attention.in_ba", MIXER, (2 * heads, hidden), max_tp=tp),
        Weight("attention.conv", MIXER, (channels, 1, spec.conv), use="conv", max_tp=tp),
        Weight("attention.dt_bias", MIXER, (heads,), use="vector", max_tp=tp),
        Weight("attention.a_log", MIXER, (heads,), use="vector", max_tp=tp),
        Weight("attention.out_norm", MIXER, (spec.value_dim,), use="vector"),
        Weight("attention.o", MIXER, (hidden, value_width), max_tp=tp),
    )
    return Body(weights, *_recurrence(heads * spec.key_dim * spec.value_dim, channels * (spec.conv - 1), tp))


def kda_body(spec: KimiDelta, hidden: int) -> Body:
    """Kimi Linear's mixer: a decay for each channel and low-rank gates of rank `head_dim`."""
    heads, width, rank = spec.heads, spec.heads * spec.head_dim, spec.head_dim
    projections = tuple(Weight(f"attention.{n}", MIXER, (width, hidden), max_tp=heads) for n in "qkv")
    low_rank = tuple(
        row
        for name in ("f", "g")
        for row in (
            Weight(f"attention.{name}_a", MIXER, (rank, hidden)),
            Weight(f"attention.{name}_b", MIXER, (width, rank), max_tp=heads),
        )
    )
    weights = (
        *projections,
        Weight("attention.conv", MIXER, (3 * width, 1, spec.conv), use="conv", max_tp=heads),
        *low_rank,
        Weight("attention.beta", MIXER, (heads, hidden), max_tp=heads),
        Weight("attention.dt_bias", MIXER, (width,), use="vector", max_tp=heads),
        Weight("attention.a_log", MIXER, (heads,), use="vector", max_tp=heads),
        Weight("attention.out_norm", MIXER, (spec.head_dim,), use="vector"),
        Weight("attention.o", MIXER, (hidden, width), max_tp=heads),
    )
    return Body(weights, *_recurrence(width * spec.head_dim, 3 * width * (spec.conv - 1), heads))


def _recurrence(state: int, conv: int, tp: int) -> tuple[tuple[State, ...], tuple[Operation, ...]]:
    states = (
        State("attention.recurrent_state", state, None, "fp32", tp),
        State("attention.conv_state", conv, None, "bf16", tp),
    )
    operations = tuple(
        Operation(f"attention.state_{name}", MIXER, 2 * state, None) for name in ("recall", "write", "read")
    )
    return states, operations

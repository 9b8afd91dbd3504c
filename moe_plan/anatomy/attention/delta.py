"""Gated delta rules: Gated DeltaNet (arXiv 2412.06464) and Kimi Delta Attention (arXiv 2510.26692).

A token reads the state with its key, writes an outer product, and reads it with its query: 6 FLOPs for
each element of the state. Decays and norms are elementwise and, like softmax, not counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.anatomy.inventory import Body, Operation, State, Weight

if TYPE_CHECKING:
    from moe_plan.spec.attention import GatedDelta, KimiDelta

MIXER = "linear_attention_or_ssm"


def gated_delta_body(spec: GatedDelta, hidden: int) -> Body:
    """Qwen3-Next's mixer.

    Its checkpoint fuses q, k, v and z, and the convolution over q, k and v; they are two rows each here,
    because q and k are cut by key heads, v and z by value heads.
    """
    key_width, value_width = spec.key_heads * spec.key_dim, spec.value_heads * spec.value_dim
    keys, values = spec.key_heads, spec.value_heads
    weights = (
        Weight("attention.in_qk", MIXER, (2 * key_width, hidden), max_tp=keys),
        Weight("attention.in_vz", MIXER, (2 * value_width, hidden), max_tp=values),
        Weight("attention.in_ba", MIXER, (2 * values, hidden), max_tp=values),
        Weight("attention.conv_qk", MIXER, (2 * key_width, 1, spec.conv), use="conv", max_tp=keys),
        Weight("attention.conv_v", MIXER, (value_width, 1, spec.conv), use="conv", max_tp=values),
        Weight("attention.dt_bias", MIXER, (values,), use="vector", max_tp=values),
        Weight("attention.a_log", MIXER, (values,), use="vector", max_tp=values),
        Weight("attention.out_norm", MIXER, (spec.value_dim,), use="vector"),
        Weight("attention.o", MIXER, (hidden, value_width), max_tp=values),
    )
    state, past = values * spec.key_dim * spec.value_dim, spec.conv - 1
    states = (
        State("attention.recurrent_state", state, None, "fp32", values),
        State("attention.conv_qk_state", 2 * key_width * past, None, "bf16", keys),
        State("attention.conv_v_state", value_width * past, None, "bf16", values),
    )
    return Body(weights, states, _rule(state))


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
    state = width * spec.head_dim
    states = (
        State("attention.recurrent_state", state, None, "fp32", heads),
        State("attention.conv_state", 3 * width * (spec.conv - 1), None, "bf16", heads),
    )
    return Body(weights, states, _rule(state))


def _rule(state: int) -> tuple[Operation, ...]:
    return tuple(
        Operation(f"attention.state_{name}", MIXER, 2 * state, None) for name in ("recall", "write", "read")
    )

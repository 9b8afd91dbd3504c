"""Selective state spaces: Mamba (arXiv 2312.00752) and Mamba-2 (arXiv 2405.21060).

A token writes an outer product into the state and reads it once: 4 FLOPs for each element of the state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.anatomy.inventory import Body, Operation, State, Weight

if TYPE_CHECKING:
    from moe_plan.spec.model import Mamba1, Mamba2

MIXER = "linear_attention_or_ssm"


def mamba1_body(spec: Mamba1, hidden: int) -> Body:
    """Mamba-1, with Jamba's norms on dt, B and C where `inner_norms` is set."""
    inner, state, rank = spec.inner, spec.state, spec.dt_rank
    norms = (("dt", rank), ("b", state), ("c", state)) if spec.inner_norms else ()
    weights = (
        Weight("attention.in", MIXER, (2 * inner, hidden), max_tp=inner),
        *_conv(inner, spec.conv, bias=spec.conv_bias, max_tp=inner),
        Weight("attention.x", MIXER, (rank + 2 * state, inner), max_tp=inner),
        Weight("attention.dt", MIXER, (inner, rank), max_tp=inner),
        Weight("attention.dt_bias", MIXER, (inner,), use="vector", max_tp=inner),
        Weight("attention.a_log", MIXER, (inner, state), use="vector", max_tp=inner),
        Weight("attention.d", MIXER, (inner,), use="vector", max_tp=inner),
        *(Weight(f"attention.{name}_norm", MIXER, (width,), use="vector") for name, width in norms),
        Weight("attention.o", MIXER, (hidden, inner), max_tp=inner),
    )
    return Body(weights, *_recurrence(inner * state, inner * (spec.conv - 1), (inner, inner)))


def mamba2_body(spec: Mamba2, hidden: int) -> Body:
    """Mamba-2: z, x, B, C and dt in one projection; a gated norm before the output."""
    inner, heads, groups = spec.heads * spec.head_dim, spec.heads, spec.groups
    channels = inner + 2 * groups * spec.state
    vectors = tuple(
        Weight(f"attention.{name}", MIXER, (heads,), use="vector", max_tp=heads)
        for name in ("dt_bias", "a_log", "d")
    )
    weights = (
        Weight("attention.in", MIXER, (inner + channels + heads, hidden), max_tp=groups),
        *_conv(channels, spec.conv, bias=spec.conv_bias, max_tp=groups),
        *vectors,
        Weight("attention.out_norm", MIXER, (inner,), use="vector", max_tp=heads),
        Weight("attention.o", MIXER, (hidden, inner), max_tp=heads),
    )
    return Body(weights, *_recurrence(inner * spec.state, channels * (spec.conv - 1), (heads, groups)))


def _conv(channels: int, taps: int, *, bias: bool, max_tp: int) -> tuple[Weight, ...]:
    rows = [Weight("attention.conv", MIXER, (channels, 1, taps), use="conv", max_tp=max_tp)]
    if bias:
        rows.append(Weight("attention.conv_bias", MIXER, (channels,), use="vector", max_tp=max_tp))
    return tuple(rows)


def _recurrence(
    state: int, conv: int, tp: tuple[int, int]
) -> tuple[tuple[State, ...], tuple[Operation, ...]]:
    """States and operations; `tp` says how the recurrent and the convolution state may be cut."""
    states = (
        State("attention.ssm_state", state, None, "fp32", tp[0]),
        State("attention.conv_state", conv, None, "bf16", tp[1]),
    )
    operations = tuple(
        Operation(f"attention.state_{name}", MIXER, 2 * state, None) for name in ("write", "read")
    )
    return states, operations

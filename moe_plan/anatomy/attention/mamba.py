"""Selective state spaces: Mamba (arXiv 2312.00752) and Mamba-2 (arXiv 2405.21060).

A token writes an outer product into the state and reads it once: 4 FLOPs for each element of the state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.anatomy.inventory import Body, Operation, State, Weight

if TYPE_CHECKING:
    from moe_plan.spec.attention import Mamba1, Mamba2

MIXER = "linear_attention_or_ssm"


def mamba1_body(spec: Mamba1, hidden: int) -> Body:
    """Mamba-1, with Jamba's norms on dt, B and C where `inner_norms` is set."""
    inner, state, rank = spec.inner, spec.state, spec.dt_rank
    norms = (("dt", rank), ("b", state), ("c", state)) if spec.inner_norms else ()
    weights = (
        Weight("attention.in", MIXER, (2 * inner, hidden), max_tp=inner),
        *_conv("conv", inner, spec.conv, bias=spec.conv_bias, max_tp=inner),
        Weight("attention.x", MIXER, (rank + 2 * state, inner), max_tp=inner),
        Weight("attention.dt", MIXER, (inner, rank), max_tp=inner),
        Weight("attention.dt_bias", MIXER, (inner,), use="vector", max_tp=inner),
        Weight("attention.a_log", MIXER, (inner, state), use="vector", max_tp=inner),
        Weight("attention.d", MIXER, (inner,), use="vector", max_tp=inner),
        *(Weight(f"attention.{name}_norm", MIXER, (width,), use="vector") for name, width in norms),
        Weight("attention.o", MIXER, (hidden, inner), max_tp=inner),
    )
    states = (
        State("attention.ssm_state", inner * state, None, "fp32", inner),
        State("attention.conv_state", inner * (spec.conv - 1), None, "bf16", inner),
    )
    return Body(weights, states, _scan(inner * state))


def mamba2_body(spec: Mamba2, hidden: int) -> Body:
    """Mamba-2: z, x, B, C and dt from one input, a gated norm before the output.

    Checkpoints fuse the input projection and the convolution; they are two rows each here, because z, x
    and dt are cut by heads, B and C by groups.
    """
    inner, heads, groups = spec.heads * spec.head_dim, spec.heads, spec.groups
    shared = 2 * groups * spec.state
    vectors = tuple(
        Weight(f"attention.{name}", MIXER, (heads,), use="vector", max_tp=heads)
        for name in ("dt_bias", "a_log", "d")
    )
    weights = (
        Weight("attention.in_zxdt", MIXER, (2 * inner + heads, hidden), max_tp=heads),
        Weight("attention.in_bc", MIXER, (shared, hidden), max_tp=groups),
        *_conv("conv_x", inner, spec.conv, bias=spec.conv_bias, max_tp=heads),
        *_conv("conv_bc", shared, spec.conv, bias=spec.conv_bias, max_tp=groups),
        *vectors,
        Weight("attention.out_norm", MIXER, (inner,), use="vector", max_tp=heads),
        Weight("attention.o", MIXER, (hidden, inner), max_tp=heads),
    )
    states = (
        State("attention.ssm_state", inner * spec.state, None, "fp32", heads),
        State("attention.conv_x_state", inner * (spec.conv - 1), None, "bf16", heads),
        State("attention.conv_bc_state", shared * (spec.conv - 1), None, "bf16", groups),
    )
    return Body(weights, states, _scan(inner * spec.state))


def _conv(name: str, channels: int, taps: int, *, bias: bool, max_tp: int) -> tuple[Weight, ...]:
    rows = [Weight(f"attention.{name}", MIXER, (channels, 1, taps), use="conv", max_tp=max_tp)]
    if bias:
        rows.append(Weight(f"attention.{name}_bias", MIXER, (channels,), use="vector", max_tp=max_tp))
    return tuple(rows)


def _scan(state: int) -> tuple[Operation, ...]:
    return tuple(Operation(f"attention.state_{name}", MIXER, 2 * state, None) for name in ("write", "read"))

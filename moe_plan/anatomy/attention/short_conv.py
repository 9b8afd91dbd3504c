"""Gated short convolution (LFM2): a depthwise causal convolution between two gates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.anatomy.inventory import Body, State, Weight

if TYPE_CHECKING:
    from moe_plan.spec.attention import ShortConv

MIXER = "linear_attention_or_ssm"


def body(spec: ShortConv, hidden: int) -> Body:
    """Weights and the last `taps - 1` inputs as state."""
    weights = (
        Weight("attention.in", MIXER, (3 * hidden, hidden), max_tp=hidden),
        Weight("attention.conv", MIXER, (hidden, 1, spec.taps), use="conv", max_tp=hidden),
        Weight("attention.o", MIXER, (hidden, hidden), max_tp=hidden),
    )
    return Body(weights, (State("attention.conv_state", hidden * (spec.taps - 1), None, "bf16", hidden),))

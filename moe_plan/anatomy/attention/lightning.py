"""Lightning attention, linear attention with a fixed decay per head (MiniMax-01, arXiv 2501.08313)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.anatomy.inventory import Body, Operation, State, Weight

if TYPE_CHECKING:
    from moe_plan.spec.attention import LightningAttention

MIXER = "linear_attention_or_ssm"


def body(spec: LightningAttention, hidden: int) -> Body:
    """Weights and state; a token writes one outer product and reads the state once, 4 FLOPs an element."""
    heads, width = spec.heads, spec.heads * spec.head_dim
    state = width * spec.head_dim
    weights = (
        Weight("attention.qkv", MIXER, (3 * width, hidden), max_tp=heads),
        Weight("attention.gate", MIXER, (width, hidden), max_tp=heads),
        Weight("attention.out_norm", MIXER, (width,), use="vector", max_tp=heads),
        Weight("attention.o", MIXER, (hidden, width), max_tp=heads),
    )
    operations = tuple(
        Operation(f"attention.state_{name}", MIXER, 2 * state, None) for name in ("write", "read")
    )
    return Body(weights, (State("attention.recurrent_state", state, None, "fp32", heads),), operations)

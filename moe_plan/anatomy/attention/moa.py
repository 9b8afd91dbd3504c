"""Mixture of attention experts (JetMoE, arXiv 2404.07413): routed q and o, shared keys and values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.anatomy.inventory import Body, Operation, Reach, State, Weight

if TYPE_CHECKING:
    from moe_plan.spec.attention import AttentionExperts

ROUTED = "routed_attention_experts"


def body(spec: AttentionExperts, hidden: int) -> Body:
    """Weights, KV cache and operations; a token runs `top_k` experts of `heads` heads each."""
    width, heads = spec.heads * spec.head_dim, spec.heads
    bias = (Weight("attention.o_bias", ROUTED, (hidden,), use="vector"),) if spec.output_bias else ()
    weights = (
        Weight("attention.router", "router", (spec.experts, hidden)),
        Weight("attention.q", ROUTED, (width, hidden), spec.experts, spec.top_k, max_tp=heads),
        Weight("attention.o", ROUTED, (hidden, width), spec.experts, spec.top_k, max_tp=heads),
        Weight("attention.k", "attention", (width, hidden), max_tp=heads),
        Weight("attention.v", "attention", (width, hidden), max_tp=heads),
        *bias,
    )
    cache = tuple(State(f"attention.{name}", width, Reach(), max_tp=heads) for name in ("keys", "values"))
    flops = 2 * spec.top_k * width
    operations = tuple(Operation(f"attention.{name}", ROUTED, flops, Reach()) for name in ("scores", "mix"))
    return Body(weights, cache, operations)

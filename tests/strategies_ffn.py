"""Random feed-forward blocks: every option, small unequal sizes."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st
from strategies_attention import dims, factors, flags, maybe, maybe_factor

from moe_plan.spec.ffn import DenseFfn, MoeFfn, Router

ungated = st.sampled_from(["silu", "gelu", "gelu-tanh", "relu", "relu2"])


class Gate(NamedTuple):
    """Whether a network has a gate, and what only a gate may have."""

    gated: bool
    activation: str
    limit: float | None


@st.composite
def gates(draw: st.DrawFn) -> Gate:
    if draw(flags):
        return Gate(True, draw(ungated | st.just("oai-swiglu")), draw(maybe_factor))
    return Gate(False, draw(ungated), None)


@st.composite
def dense_networks(draw: st.DrawFn) -> DenseFfn:
    return DenseFfn(kind="dense", width=draw(dims), bias=draw(flags), **draw(gates())._asdict())


dense = dense_networks()


@st.composite
def routers(draw: st.DrawFn, experts: int) -> Router:
    score = draw(st.sampled_from(["softmax", "sigmoid", "sqrt-softplus", "sparsemixer"]))
    mixer = score == "sparsemixer"
    divisors = [n for n in range(1, experts + 1) if experts % n == 0]
    groups = None if mixer else draw(st.none() | st.sampled_from(divisors))
    return Router(
        score=score,
        normalize=not mixer and draw(flags),
        scale=draw(factors),
        bias=draw(flags),
        correction_bias=None if mixer else draw(st.sampled_from([None, "buffer", "parameter"])),
        groups=groups,
        top_groups=draw(st.integers(1, groups)) if groups else None,
        group_score="max" if groups == experts else draw(st.sampled_from(["max", "top2"])),
        weigh_input=draw(flags),
        input_scale=draw(flags),
        expert_scale=draw(flags),
        token_table=draw(flags),
    )


@st.composite
def moe(draw: st.DrawFn, zero_experts: st.SearchStrategy[int] | None = None) -> MoeFfn:
    experts, shared = draw(st.integers(1, 16)), draw(maybe(dims))
    zero = draw(zero_experts if zero_experts is not None else st.sampled_from([0, 0, 3, 8]))
    return MoeFfn(
        kind="moe",
        experts=experts,
        top_k=draw(st.integers(1, experts + zero)),
        width=draw(dims),
        bias=draw(flags),
        output_bias=draw(flags),
        **draw(gates())._asdict(),
        zero_experts=zero,
        latent=draw(maybe(dims)),
        shared_width=shared,
        shared_gate=shared is not None and draw(flags),
        router=draw(routers(experts)),
    )

"""Attention and its linear relatives: one module a kind, each from its paper or the model's own code."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from moe_plan.anatomy.attention import compressed, delta, gqa, lightning, mamba, mla, moa, short_conv

if TYPE_CHECKING:
    from moe_plan.anatomy.inventory import Body
    from moe_plan.spec.model import AnyAttention


def attention_body(spec: AnyAttention, hidden: int) -> Body:  # noqa: C901, PLR0911  one branch a kind
    """Weights, states and operations of one attention block of whatever kind."""
    # Branches on `kind`, not on the class: a locked catalogue entry has the fields of the spec class
    # without being one, so that the catalogue loads without importing pydantic.
    if spec.kind == "gqa":
        return gqa.body(spec, hidden)
    if spec.kind == "mla":
        return mla.body(spec, hidden)
    if spec.kind == "compressed":
        return compressed.body(spec, hidden)
    if spec.kind == "moa":
        return moa.body(spec, hidden)
    if spec.kind == "gated-delta":
        return delta.gated_delta_body(spec, hidden)
    if spec.kind == "kda":
        return delta.kda_body(spec, hidden)
    if spec.kind == "lightning":
        return lightning.body(spec, hidden)
    if spec.kind == "mamba1":
        return mamba.mamba1_body(spec, hidden)
    if spec.kind == "mamba2":
        return mamba.mamba2_body(spec, hidden)
    if spec.kind == "short-conv":
        return short_conv.body(spec, hidden)
    assert_never(spec)

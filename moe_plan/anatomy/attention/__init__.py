"""Attention and its linear relatives: one module a kind, each from its paper or the model's own code."""

# ruff: noqa: C901, PLC0415, PLR0911  one branch a kind; `compare` should not load the kinds it does not meet

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from moe_plan.anatomy.inventory import Body
    from moe_plan.spec.model import AnyAttention


def attention_body(spec: AnyAttention, hidden: int) -> Body:
    """Weights, states and operations of one attention block of whatever kind."""
    # Branches on `kind`, not on the class: a locked catalogue entry has the fields of the spec class
    # without being one, so that the catalogue loads without importing pydantic.
    if spec.kind == "gqa":
        from moe_plan.anatomy.attention import gqa

        return gqa.body(spec, hidden)
    if spec.kind == "mla":
        from moe_plan.anatomy.attention import mla

        return mla.body(spec, hidden)
    if spec.kind == "compressed":
        from moe_plan.anatomy.attention import compressed

        return compressed.body(spec, hidden)
    if spec.kind == "moa":
        from moe_plan.anatomy.attention import moa

        return moa.body(spec, hidden)
    if spec.kind == "gated-delta":
        from moe_plan.anatomy.attention import delta

        return delta.gated_delta_body(spec, hidden)
    if spec.kind == "kda":
        from moe_plan.anatomy.attention import delta

        return delta.kda_body(spec, hidden)
    if spec.kind == "lightning":
        from moe_plan.anatomy.attention import lightning

        return lightning.body(spec, hidden)
    if spec.kind == "mamba1":
        from moe_plan.anatomy.attention import mamba

        return mamba.mamba1_body(spec, hidden)
    if spec.kind == "mamba2":
        from moe_plan.anatomy.attention import mamba

        return mamba.mamba2_body(spec, hidden)
    if spec.kind == "short-conv":
        from moe_plan.anatomy.attention import short_conv

        return short_conv.body(spec, hidden)
    assert_never(spec)

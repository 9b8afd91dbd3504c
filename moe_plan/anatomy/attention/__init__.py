"""Attention and its linear relatives: one module a kind, each from its paper or the model's own code."""

# ruff: noqa: PLC0415  `compare` should not load the kinds that its models do not have

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from moe_plan.anatomy.inventory import Body
    from moe_plan.spec.attention import AnyAttention, AnyRecurrence


def attention_body(spec: AnyAttention, hidden: int, source: int | None = None) -> Body:
    """Weights, states and operations of one attention block over `hidden` inputs.

    `source` is the width of the encoder's output that cross-attention looks at, by default `hidden`.
    Branches on `kind`, not on the class: a locked catalogue entry has the fields of a spec class without
    being one, so that the catalogue loads without importing pydantic.
    """
    if spec.kind == "gqa":
        from moe_plan.anatomy.attention import gqa

        return gqa.body(spec, hidden, source or hidden)
    if spec.kind == "mla":
        from moe_plan.anatomy.attention import mla

        return mla.body(spec, hidden)
    if spec.kind == "compressed":
        from moe_plan.anatomy.attention import compressed

        return compressed.body(spec, hidden)
    if spec.kind == "moa":
        from moe_plan.anatomy.attention import moa

        return moa.body(spec, hidden)
    return _recurrent_body(spec, hidden)


def _recurrent_body(spec: AnyRecurrence, hidden: int) -> Body:
    from moe_plan.anatomy.attention import delta, lightning, mamba, short_conv

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

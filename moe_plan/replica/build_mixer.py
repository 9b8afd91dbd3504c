"""From an attention block of a spec to the module that runs it."""

# ruff: noqa: PLC0415  a model loads the kinds that it has

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from moe_plan.replica.layers import Place
    from moe_plan.replica.mixer import Mixer
    from moe_plan.spec.attention import AnyAttention, AnyRecurrence


def mixer(block: AnyAttention, place: Place) -> Mixer:
    """The module of one attention kind or recurrence."""
    hidden, norm = place.widths.hidden, place.norm
    if block.kind == "gqa":
        from moe_plan.replica.attention.gqa import GroupedQueryAttention

        return GroupedQueryAttention(block, place.widths, norm)
    if block.kind == "mla":
        from moe_plan.replica.attention.mla import MlaMixer

        return MlaMixer(block, hidden, norm)
    if block.kind == "compressed":
        from moe_plan.replica.attention.compressed import Compressed

        return Compressed(block, hidden, norm)
    if block.kind == "moa":
        from moe_plan.replica.attention.moa import AttentionMixture

        return AttentionMixture(block, hidden, norm)
    return _recurrence(block, place)


def _recurrence(block: AnyRecurrence, place: Place) -> Mixer:
    from moe_plan.replica.recurrence import delta, lightning, mamba1, mamba2, short_conv

    hidden, norm = place.widths.hidden, place.norm
    match block.kind:
        case "gated-delta":
            return delta.GatedDeltaMixer(block, hidden, norm)
        case "kda":
            return delta.KimiDeltaMixer(block, hidden, norm)
        case "lightning":
            return lightning.LightningMixer(block, hidden, norm, layer=place.number, layers=place.layers)
        case "mamba1":
            return mamba1.Mamba1Mixer(block, hidden, norm)
        case "mamba2":
            return mamba2.Mamba2Mixer(block, hidden, norm)
        case "short-conv":
            return short_conv.ShortConvMixer(block, hidden, norm)
        case _:
            assert_never(block)

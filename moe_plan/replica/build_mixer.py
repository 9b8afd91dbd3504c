"""From an attention block of a spec to the module that runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from moe_plan.replica.attention.compressed import Compressed
from moe_plan.replica.attention.gqa import GroupedQueryAttention
from moe_plan.replica.attention.mla import MlaMixer
from moe_plan.replica.attention.moa import AttentionMixture
from moe_plan.replica.recurrence.delta import GatedDeltaMixer, KimiDeltaMixer
from moe_plan.replica.recurrence.lightning import LightningMixer
from moe_plan.replica.recurrence.mamba1 import Mamba1Mixer
from moe_plan.replica.recurrence.mamba2 import Mamba2Mixer
from moe_plan.replica.recurrence.short_conv import ShortConvMixer

if TYPE_CHECKING:
    from moe_plan.replica.layers import Place
    from moe_plan.replica.mixer import Mixer
    from moe_plan.spec.attention import AnyAttention


def mixer(block: AnyAttention, place: Place) -> Mixer:
    """The module of one attention kind or recurrence."""
    hidden, norm = place.widths.hidden, place.norm
    match block.kind:
        case "gqa":
            return GroupedQueryAttention(block, place.widths, norm)
        case "mla":
            return MlaMixer(block, hidden, norm)
        case "compressed":
            return Compressed(block, hidden, norm)
        case "moa":
            return AttentionMixture(block, hidden, norm)
        case "gated-delta":
            return GatedDeltaMixer(block, hidden, norm)
        case "kda":
            return KimiDeltaMixer(block, hidden, norm)
        case "lightning":
            return LightningMixer(block, hidden, norm, layer=place.index, layers=place.layers)
        case "mamba1":
            return Mamba1Mixer(block, hidden, norm)
        case "mamba2":
            return Mamba2Mixer(block, hidden, norm)
        case "short-conv":
            return ShortConvMixer(block, hidden, norm)
        case _:
            assert_never(block)

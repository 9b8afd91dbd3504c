"""One block of a shrunk model: its new heads, widths, lengths and experts; every other field as it was."""

from __future__ import annotations

from fractions import Fraction
from math import gcd
from typing import TYPE_CHECKING, NamedTuple

from moe_plan.replica.shrink_heads import COUNTS, INDEXER, head_counts
from moe_plan.replica.shrink_lengths import Lengths, block_lengths, choice_length
from moe_plan.replica.shrink_widths import HIDDEN, Key, role_sizes
from moe_plan.spec.attention import CompressedAttention, MlaAttention
from moe_plan.spec.ffn import MoeFfn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moe_plan.spec.attention import AnyAttention, Indexer
    from moe_plan.spec.ffn import AnyFfn
    from moe_plan.spec.rope import Rope

    Indexed = MlaAttention | CompressedAttention

EXPERT_PARAMETERS = 4_000_000
"""Routed experts of a layer that may always be kept, however small the scale."""


class Sizing(NamedTuple):
    """All new sizes of a model."""

    scale: Fraction
    odd: bool
    factors: Mapping[str, Fraction]
    """New heads for each old one, by family."""
    sizes: Mapping[Key, int]
    lengths: Lengths


def smaller_attention(block: AnyAttention, sizing: Sizing) -> AnyAttention:
    """The attention block with what `sizing` gives for it."""
    sizes = role_sizes(block, sizing.sizes)
    changed = sizes | _rope(block, sizes) | block_lengths(block, sizing.lengths)
    if block.kind in COUNTS:
        changed |= head_counts(block, COUNTS[block.kind], sizing.factors)
    smaller: AnyAttention = block.model_copy(update=changed)
    if isinstance(smaller, CompressedAttention):
        groups = gcd(smaller.o_groups, smaller.heads * smaller.head_dim)
        smaller = smaller.model_copy(update={"o_groups": groups})
    if isinstance(smaller, MlaAttention | CompressedAttention) and smaller.indexer is not None:
        smaller = smaller.model_copy(update={"indexer": _indexer(smaller.indexer, block, smaller, sizing)})
    return smaller


def smaller_ffn(block: AnyFfn, sizing: Sizing, hidden: int) -> AnyFfn:
    """The FFN block of a stack that was `hidden` wide."""
    smaller: AnyFfn = block.model_copy(update=role_sizes(block, sizing.sizes))
    if not isinstance(block, MoeFfn) or not isinstance(smaller, MoeFfn):
        return smaller
    before = _expert_parameters(block, hidden)
    after = _expert_parameters(smaller, sizing.sizes[HIDDEN, hidden])
    most = max(EXPERT_PARAMETERS, int(2 * sizing.scale**2 * before * block.experts)) // after
    if block.experts > most:
        smaller = _fewer_experts(smaller, most)
    return _odd_experts(smaller) if sizing.odd else smaller


def _rope(block: AnyAttention, sizes: Mapping[str, int]) -> dict[str, object]:
    """Where only some channels of a head turn, the same share of the smaller head, in pairs."""
    rope: Rope | None = getattr(block, "rope", None)
    if rope is None or rope.dim is None:
        return {}
    field = "rope_dim" if isinstance(block, MlaAttention) else "head_dim"
    old, new = getattr(block, field), sizes[field]
    turned = max(2, round(Fraction(new * rope.dim, 2 * old)) * 2)
    return {"rope": rope.model_copy(update={"dim": min(turned, new)})}


def _indexer(indexer: Indexer, block: AnyAttention, smaller: Indexed, sizing: Sizing) -> Indexer:
    """The indexer, whose heads turn as many channels as the attention's do and so cannot be narrower."""
    changed = role_sizes(indexer, sizing.sizes) | head_counts(indexer, INDEXER, sizing.factors)
    turned = _turned(smaller)
    if changed["head_dim"] < turned:
        changed["head_dim"] = turned + 4 * sizing.odd
    changed["top_k"] = choice_length(block, indexer.top_k, sizing.lengths)
    return indexer.model_copy(update=changed)


def _turned(block: Indexed) -> int:
    """Channels of a head that rotary positions turn."""
    width = block.rope_dim if isinstance(block, MlaAttention) else block.head_dim
    return width if block.rope is None or block.rope.dim is None else min(width, block.rope.dim)


def _expert_parameters(block: MoeFfn, hidden: int) -> int:
    return (3 if block.gated else 2) * (block.latent or hidden) * block.width


def _fewer_experts(block: MoeFfn, most: int) -> MoeFfn:
    """Experts and choices in the old ratio, with as many choices as `most` experts allow, at least two."""
    least = min(2, block.top_k)
    top_k = max(least, min(block.top_k, block.top_k * most // block.experts))
    groups = block.router.groups
    share = Fraction(top_k, block.top_k)
    if groups is None:
        experts, router = _at_least(block.experts * share), block.router
    else:
        # A group that is judged by its best two experts has two.
        each = 2 if block.router.group_score == "top2" and groups < block.experts else 1
        fewer = min(groups, max(1, int(block.experts * share / each)))
        top_groups = min(block.router.top_groups or fewer, fewer)
        experts = fewer * _at_least(block.experts * share / fewer)
        router = block.router.model_copy(update={"groups": fewer, "top_groups": top_groups})
    zero = _at_least(block.zero_experts * share)
    return block.model_copy(
        update={"experts": experts, "top_k": top_k, "zero_experts": zero, "router": router}
    )


def _at_least(number: Fraction) -> int:
    """Rounded up."""
    return -int(-number // 1)


def _odd_experts(block: MoeFfn) -> MoeFfn:
    """One expert fewer in each group, or one more where there would be too few to choose from."""
    groups, top_groups = block.router.groups or 1, block.router.top_groups or 1
    each = block.experts // groups
    if each % 2 == 0:
        enough = (each - 1) * top_groups >= block.top_k and each > 2  # noqa: PLR2004  groups are judged by two
        each += -1 if enough else 1
    zero = block.zero_experts
    if zero and zero % 2 == 0:
        zero += -1 if groups * each + zero > block.top_k else 1
    return block.model_copy(update={"experts": groups * each, "zero_experts": zero})

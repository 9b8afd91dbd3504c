"""Rules within one block: counts that must divide, and options that exclude or need one another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.spec.attention import (
    AnyAttention,
    Attention,
    AttentionExperts,
    CompressedAttention,
    GatedDelta,
    Mamba2,
)
from moe_plan.spec.ffn import AnyFfn, MoeFfn, Router
from moe_plan.spec.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.spec.yaml_reader import Path


def attention_findings(block: AnyAttention, path: Path) -> Iterator[Finding]:
    """What contradicts itself in an attention, linear-attention or state-space block."""
    match block:
        case Attention():
            yield from _gqa_counts(block, path)
            yield from _gqa_options(block, path)
        case AttentionExperts() if block.top_k > block.experts:
            yield _too_many_chosen(path, block.top_k, f"{block.experts} experts")
        case CompressedAttention():
            yield from _compressed(block, path)
        case GatedDelta():
            yield from _divides(path, ("key_heads", block.key_heads), ("value_heads", block.value_heads))
        case Mamba2():
            yield from _divides(path, ("groups", block.groups), ("heads", block.heads))
        case _:
            pass


def ffn_findings(block: AnyFfn, path: Path) -> Iterator[Finding]:
    """What contradicts itself in a feed-forward block."""
    if not block.gated:
        if block.activation == "oai-swiglu":
            yield Finding(
                "MP134", (*path, "activation"), "oai-swiglu is a gated activation; it needs gated: true"
            )
        if block.limit is not None:
            yield Finding("MP134", (*path, "limit"), "limit clips a gate and needs gated: true")
    if not isinstance(block, MoeFfn):
        return
    if block.top_k > _choices(block):
        zero = f" ({block.zero_experts} of them zero experts)" if block.zero_experts else ""
        yield _too_many_chosen(path, block.top_k, f"{_choices(block)} experts{zero}")
    if block.shared_gate and block.shared_width is None:
        yield Finding("MP134", (*path, "shared_gate"), "a gate on a shared expert needs shared_width")
    yield from _router(block.router, block, (*path, "router"))


def _gqa_counts(block: Attention, path: Path) -> Iterator[Finding]:
    yield from _divides(path, ("kv_heads", block.kv_heads), ("heads", block.heads))
    repeated = sorted({projection for projection in block.bias if block.bias.count(projection) > 1})
    if repeated:
        yield Finding("MP132", (*path, "bias"), f"named twice: {', '.join(repeated)}")
    if block.keys_as_values and block.value_dim not in (None, block.head_dim):
        message = f"values made from keys are head_dim ({block.head_dim}) wide, not {block.value_dim}"
        yield Finding("MP132", (*path, "value_dim"), message)


def _gqa_options(block: Attention, path: Path) -> Iterator[Finding]:
    if block.window is not None and block.chunk is not None:
        yield Finding("MP134", (*path, "chunk"), "window and chunk exclude each other")
    if block.qk_norm_after_rope and block.qk_norm is None:
        yield Finding("MP134", (*path, "qk_norm_after_rope"), "a norm after the rotation needs qk_norm")
    if block.shared_positions and block.position_buckets is not None:
        message = "shared_positions and position_buckets exclude each other: a shared table is an earlier one"
        yield Finding("MP134", (*path, "shared_positions"), message)
    if block.keys_as_values and block.shared_kv:
        message = "keys_as_values and shared_kv exclude each other: a layer that reuses keys projects none"
        yield Finding("MP134", (*path, "keys_as_values"), message)


def _compressed(block: CompressedAttention, path: Path) -> Iterator[Finding]:
    width = block.heads * block.head_dim
    if width % block.o_groups:
        message = f"{block.o_groups} groups do not divide heads x head_dim = {width}"
        yield Finding("MP133", (*path, "o_groups"), message)
    if block.ratio is None and block.overlap:
        yield Finding("MP134", (*path, "overlap"), "overlapping compression needs ratio")
    if block.ratio is None and block.indexer is not None:
        yield Finding("MP134", (*path, "indexer"), "an indexer chooses compressed entries and needs ratio")


def _router(router: Router, block: MoeFfn, path: Path) -> Iterator[Finding]:
    groups, top_groups = router.groups, router.top_groups
    if router.score == "sparsemixer":
        yield from _sparsemixer(router, path)
        return
    if groups is None and top_groups is None:
        return
    if groups is None or top_groups is None:
        lone, other = ("groups", "top_groups") if top_groups is None else ("top_groups", "groups")
        yield Finding("MP134", (*path, lone), f"{lone} needs {other}")
    elif top_groups > groups:
        yield Finding("MP132", (*path, "top_groups"), f"chooses {top_groups} of {groups} groups")
    elif block.experts % groups:
        message = f"{groups} groups do not divide {block.experts} experts"
        yield Finding("MP133", (*path, "groups"), message)
    elif groups == block.experts and router.group_score == "top2":
        message = "a group of one expert has no best two; write group_score: max"
        yield Finding("MP132", (*path, "group_score"), message)
    elif (
        (reachable := block.experts // groups * top_groups) + block.zero_experts
        < block.top_k
        <= _choices(block)
    ):
        message = (
            f"{top_groups} of {groups} groups hold {reachable} experts, fewer than top_k = {block.top_k}"
        )
        yield Finding("MP132", (*path, "top_groups"), message)


def _sparsemixer(router: Router, path: Path) -> Iterator[Finding]:
    for key in ("groups", "top_groups", "correction_bias"):
        if getattr(router, key) is not None:
            yield Finding("MP134", (*path, key), f"sparsemixer chooses over all logits, without {key}")
    if router.normalize:
        message = "sparsemixer takes a softmax for each choice; write normalize: false"
        yield Finding("MP134", (*path, "normalize"), message)


def _choices(block: MoeFfn) -> int:
    return block.experts + block.zero_experts


def _divides(path: Path, divisor: tuple[str, int], whole: tuple[str, int]) -> Iterator[Finding]:
    if whole[1] % divisor[1]:
        message = f"{divisor[0]} = {divisor[1]} does not divide {whole[0]} = {whole[1]}"
        yield Finding("MP133", (*path, divisor[0]), message)


def _too_many_chosen(path: Path, top_k: int, available: str) -> Finding:
    return Finding("MP132", (*path, "top_k"), f"chooses {top_k} of {available}")

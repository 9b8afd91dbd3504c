"""Lengths of a shrunk model: windows, chunks and choices so short that a run of a few tokens feels them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.spec.attention import Attention, CompressedAttention, MlaAttention

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from moe_plan.spec.attention import AnyAttention

FEWEST_TOKENS = 8
DECODED = 8
"""Steps of decode that follow the prompt: the context holds them too."""


class Lengths(NamedTuple):
    """New lengths for old ones, in a run whose prompt has `tokens` tokens."""

    tokens: int
    windows: Mapping[int, int]
    """Of windows and chunks: three or more of them fill the prompt, and different ones stay different."""
    ratios: Mapping[int, int]
    """Of compression: a prompt makes several entries, and different ratios stay different."""
    far: int | None
    """Distance from which relative positions share a bucket: one for the model, as its tables are shared."""


def lengths(blocks: Iterable[AnyAttention], tokens: int) -> Lengths:
    """The lengths of all the blocks of a model."""
    windows, ratios, buckets = set[int](), set[int](), 0
    for block in blocks:
        if isinstance(block, Attention):
            buckets = max(buckets, block.position_buckets or 0)
            windows |= {length for length in (block.window, block.chunk) if length is not None}
        elif isinstance(block, CompressedAttention):
            windows.add(block.window)
            ratios |= {block.ratio} if block.ratio is not None else set()
    # Half of the buckets, or a quarter where later tokens have some too, count single tokens.
    far = max(buckets // 2 + 1, tokens * 2 // 3) if buckets else None
    return Lengths(tokens, _windows(windows, tokens // 3 - 1), _ratios(ratios, tokens // 4), far)


def block_lengths(block: AnyAttention, lengths: Lengths) -> dict[str, object]:
    """The new lengths of a block, by field."""
    match block:
        case Attention():
            return _gqa(block, lengths)
        case MlaAttention():
            return _temperature(block, lengths)
        case CompressedAttention():
            ratio = None if block.ratio is None else lengths.ratios[block.ratio]
            return {"window": lengths.windows[block.window], "ratio": ratio}
        case _:
            return {}


def choice_length(block: AnyAttention, top_k: int, lengths: Lengths) -> int:
    """What an indexer keeps: about half of what there is to choose from once the prompt is read."""
    ratio = lengths.ratios.get(getattr(block, "ratio", None) or 0, 2)
    return min(top_k, max(1, lengths.tokens // ratio // 2))


def _gqa(block: Attention, lengths: Lengths) -> dict[str, object]:
    near = {
        field: lengths.windows[length]
        for field in ("window", "chunk")
        if (length := getattr(block, field)) is not None
    }
    distance = {} if lengths.far is None else {"position_distance": min(block.position_distance, lengths.far)}
    return {**near, **distance, **_temperature(block, lengths)}


def _temperature(block: Attention | MlaAttention, lengths: Lengths) -> dict[str, object]:
    if block.temperature is None:
        return {}
    span = min(block.temperature.span, lengths.tokens // 4)
    return {"temperature": block.temperature.model_copy(update={"span": span})}


def _windows(old: set[int], longest: int) -> dict[int, int]:
    """At most `longest`, none longer than before, and each other one shorter than the last."""
    new: dict[int, int] = {}
    for length in sorted(old, reverse=True):
        new[length] = min(length, max(1, longest))
        longest = new[length] - 1
    return new


def _ratios(old: set[int], largest: int) -> dict[int, int]:
    """Ratios up to `largest` where they were larger, each above the one before."""
    new: dict[int, int] = {}
    least = 1
    for ratio in sorted(old):
        new[ratio] = max(least, min(ratio, largest))
        least = new[ratio] + 1
    return new

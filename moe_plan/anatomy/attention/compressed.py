"""A window of shared key-value vectors plus compressed older ones: DeepSeek-V4's attention.

One vector of `head_dim` serves every head as key and value. A compressor turns each `ratio` tokens into
one entry; with an indexer a token sees its `top_k` best entries, without one it sees them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.anatomy.inventory import Body, Operation, Reach, State, Weight

if TYPE_CHECKING:
    from moe_plan.spec.attention import CompressedAttention, Indexer

ATTENTION = "attention"
COMPRESSOR = "attention_compressor"
INDEXER = "attention_indexer"


def body(spec: CompressedAttention, hidden: int) -> Body:
    """Weights, window and compressed caches, and operations over `hidden` inputs."""
    parts = [_window(spec, hidden)]
    if spec.ratio is not None:
        parts.append(_compressed(spec, spec.ratio, hidden))
        if spec.indexer is not None and not spec.indexer.shared:
            parts.append(_indexer(spec, spec.indexer, spec.ratio, hidden))
    return Body(
        tuple(w for part in parts for w in part.weights),
        tuple(s for part in parts for s in part.states),
        tuple(o for part in parts for o in part.operations),
    )


def _window(spec: CompressedAttention, hidden: int) -> Body:
    heads, width = spec.heads, spec.heads * spec.head_dim
    groups = spec.o_groups
    sinks = (
        (Weight("attention.sinks", ATTENTION, (heads,), use="vector", max_tp=heads),) if spec.sinks else ()
    )
    weights = (
        Weight("attention.q_a", ATTENTION, (spec.q_rank, hidden)),
        Weight("attention.q_a_norm", ATTENTION, (spec.q_rank,), use="vector"),
        Weight("attention.q_b", ATTENTION, (width, spec.q_rank), max_tp=heads),
        Weight("attention.kv", ATTENTION, (spec.head_dim, hidden)),
        Weight("attention.kv_norm", ATTENTION, (spec.head_dim,), use="vector"),
        Weight("attention.o_a", ATTENTION, (spec.o_rank, width // groups), groups, groups, max_tp=groups),
        Weight("attention.o_b", ATTENTION, (hidden, groups * spec.o_rank), max_tp=groups),
        *sinks,
    )
    reach = Reach(limit=spec.window)
    return Body(weights, (State("attention.window", spec.head_dim, reach),), _scores(spec, "", reach))


def _scores(spec: CompressedAttention, suffix: str, reach: Reach) -> tuple[Operation, ...]:
    flops = 2 * spec.heads * spec.head_dim
    return (
        Operation(f"attention.scores{suffix}", ATTENTION, flops, reach),
        Operation(f"attention.mix{suffix}", ATTENTION, flops, reach),
    )


def _compressor(owner: str, component: str, width: int, ratio: int, hidden: int) -> tuple[Weight, ...]:
    return (
        Weight(f"{owner}.kv", component, (width, hidden)),
        Weight(f"{owner}.gate", component, (width, hidden)),
        Weight(f"{owner}.position_bias", component, (ratio, width), use="vector"),
    )


def _compressed(spec: CompressedAttention, ratio: int, hidden: int) -> Body:
    width = spec.head_dim * (2 if spec.overlap else 1)
    weights = (
        *_compressor("compressor", COMPRESSOR, width, ratio, hidden),
        Weight("compressor.kv_norm", COMPRESSOR, (spec.head_dim,), use="vector"),
    )
    seen = Reach(limit=spec.indexer.top_k if spec.indexer else None, stride=ratio)
    cache = State("compressor.entries", spec.head_dim, Reach(stride=ratio))
    return Body(weights, (cache,), _scores(spec, "_compressed", seen))


def _indexer(spec: CompressedAttention, indexer: Indexer, ratio: int, hidden: int) -> Body:
    width = indexer.head_dim * (2 if spec.overlap else 1)
    weights = (
        *_compressor("indexer", INDEXER, width, ratio, hidden),
        Weight("indexer.kv_norm", INDEXER, (indexer.head_dim,), use="vector"),
        Weight("indexer.q", INDEXER, (indexer.heads * indexer.head_dim, spec.q_rank)),
        Weight("indexer.weights", INDEXER, (indexer.heads, hidden)),
    )
    reach = Reach(stride=ratio)
    scores = Operation("indexer.scores", INDEXER, 2 * indexer.heads * indexer.head_dim, reach)
    return Body(weights, (State("indexer.keys", indexer.head_dim, reach),), (scores,))

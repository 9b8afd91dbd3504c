"""Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434), with the indexer of DeepSeek-V3.2.

Prefill expands the latent into keys and values; decode absorbs kv_b into the query and the output, so
the same projection FLOPs are spent and attention runs over the latent itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.anatomy.inventory import Body, Operation, Reach, State, Weight

if TYPE_CHECKING:
    from moe_plan.spec.attention import Indexer, MlaAttention

ATTENTION = "attention"
INDEXER = "attention_indexer"


def body(spec: MlaAttention, hidden: int) -> Body:
    """Weights, latent cache and score operations of one MLA block over `hidden` inputs."""
    indexer = Body() if spec.indexer is None else _indexer(spec.indexer, spec.q_rank or hidden, hidden)
    reach = Reach(limit=None if spec.indexer is None else spec.indexer.top_k)
    # The latent is one vector for all heads: every tensor-parallel rank holds all of it.
    cache = (
        State("attention.latent", spec.kv_rank, Reach()),
        State("attention.rope_keys", spec.rope_dim, Reach()),
    )
    return Body(
        (*_weights(spec, hidden), *indexer.weights),
        (*cache, *indexer.states),
        (*_operations(spec, reach), *indexer.operations),
    )


def _weights(spec: MlaAttention, hidden: int) -> tuple[Weight, ...]:
    heads, query_width = spec.heads, spec.heads * (spec.nope_dim + spec.rope_dim)
    if spec.q_rank is None:
        query: tuple[Weight, ...] = (Weight("attention.q", ATTENTION, (query_width, hidden), max_tp=heads),)
    else:
        query = (
            Weight("attention.q_a", ATTENTION, (spec.q_rank, hidden)),
            Weight("attention.q_a_norm", ATTENTION, (spec.q_rank,), use="vector"),
            Weight("attention.q_b", ATTENTION, (query_width, spec.q_rank), max_tp=heads),
        )
    up_width = heads * (spec.nope_dim + spec.v_dim)
    return (
        *query,
        Weight("attention.kv_a", ATTENTION, (spec.kv_rank + spec.rope_dim, hidden)),
        Weight("attention.kv_a_norm", ATTENTION, (spec.kv_rank,), use="vector"),
        Weight("attention.kv_b", ATTENTION, (up_width, spec.kv_rank), max_tp=heads),
        Weight("attention.o", ATTENTION, (hidden, heads * spec.v_dim), max_tp=heads),
    )


def _operations(spec: MlaAttention, reach: Reach) -> tuple[Operation, ...]:
    heads = spec.heads
    return (
        Operation(
            "attention.scores", ATTENTION, 2 * heads * (spec.nope_dim + spec.rope_dim), reach, "prefill"
        ),
        Operation("attention.mix", ATTENTION, 2 * heads * spec.v_dim, reach, "prefill"),
        Operation(
            "attention.latent_scores", ATTENTION, 2 * heads * (spec.kv_rank + spec.rope_dim), reach, "decode"
        ),
        Operation("attention.latent_mix", ATTENTION, 2 * heads * spec.kv_rank, reach, "decode"),
    )


def _indexer(spec: Indexer, query_width: int, hidden: int) -> Body:
    """DSA: r_q*h_i*d_i + d*d_i + 2*d_i + d*h_i weights; every key is scored at 2*h_i*d_i FLOPs."""
    if spec.shared:
        return Body()
    return Body(
        (
            Weight("indexer.q", INDEXER, (spec.heads * spec.head_dim, query_width)),
            Weight("indexer.k", INDEXER, (spec.head_dim, hidden)),
            Weight("indexer.k_norm", INDEXER, (2, spec.head_dim), use="vector"),
            Weight("indexer.weights", INDEXER, (spec.heads, hidden)),
        ),
        (State("indexer.keys", spec.head_dim, Reach()),),
        (Operation("indexer.scores", INDEXER, 2 * spec.heads * spec.head_dim, Reach()),),
    )

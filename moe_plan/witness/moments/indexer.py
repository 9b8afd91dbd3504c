"""The lightning indexer: scores of all keys, and the choice that is kept for layers that share it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.witness.moments import rope
from moe_plan.witness.moments.spans import Span, spans, unseen
from moe_plan.witness.moments.tape import FP32, INT64

if TYPE_CHECKING:
    from moe_plan.spec.attention import Indexer, MlaAttention
    from moe_plan.witness.moments.tape import Run, Tape

KEPT = "indexer.choice"
"""Under which a layer keeps its choice."""


def moments(tape: Tape, spec: MlaAttention, run: Run) -> None:
    """The indexer beside multi-head latent attention; its choice stays, in place of an earlier layer's."""
    assert spec.indexer is not None
    tape.stage("indexer projections")
    keys = _keys(tape, spec, spec.indexer, run)
    heads = run.rows * spec.indexer.heads * run.itemsize
    query = tape.take(heads * spec.indexer.head_dim)
    weights = tape.take(heads)
    if spec.rope is not None:
        query = tape.swap(query, query)
    choice = choose(tape, spec.indexer, run)
    tape.give(query, weights, keys)
    tape.hand(KEPT, choice)


def _keys(tape: Tape, spec: MlaAttention, indexer: Indexer, run: Run) -> int:
    """Normed and turned keys of the new tokens; returns the bytes of those that no cache holds."""
    size = run.rows * indexer.head_dim * run.itemsize
    projected = tape.take(size)
    # Mean and reciprocal deviation of each token come with the norm, and are dropped.
    normed = tape.take(size)
    tape.flash(2 * run.rows * run.itemsize)
    tape.give(projected)
    if spec.rope is not None:
        rope.tables(tape, run, spec.rope, min(spec.rope_dim, indexer.head_dim))
        normed = tape.swap(normed, size)
    if run.cached:
        tape.give(normed)
        return 0
    return normed


def choose(tape: Tape, indexer: Indexer, run: Run, ratio: int = 1) -> int:
    """The best keys of each query, a block of queries at a time; returns the bytes of the choice."""
    tape.stage("indexer scores")
    choice = 0
    for span in spans(run):
        if span.entries(ratio):
            choice += _choice(tape, indexer, run, span, ratio)
    return choice


def chosen(indexer: Indexer, span: Span, ratio: int = 1) -> int:
    """Keys that each query of a block chooses; 0 where it keeps them all."""
    return indexer.top_k if span.entries(ratio) > indexer.top_k else 0


def _choice(tape: Tape, indexer: Indexer, run: Run, span: Span, ratio: int) -> int:
    rows = run.sequences * span.queries
    elements = rows * span.entries(ratio)
    by_head = tape.take(elements * indexer.heads * run.itemsize)
    if run.narrow:
        by_head = tape.swap(by_head, elements * indexer.heads * FP32)
    scores = tape.swap(by_head, elements * FP32)
    kept = rows * chosen(indexer, span, ratio)
    if not kept:
        tape.give(scores)
        return 0
    mask = unseen(tape, span, ratio)
    best = tape.take(FP32 * kept)
    places = tape.take(INT64 * kept)
    tape.give(best, mask, scores)
    return places

"""DeepSeek-V4's compressor: entries that stand for several tokens, and the choice of the best of them.

The cache is taken to have room for the window or the ring that a module asks for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.witness.moments import indexer, rope, store
from moe_plan.witness.moments.norm import rms
from moe_plan.witness.moments.spans import softmax
from moe_plan.witness.moments.tape import INT64

if TYPE_CHECKING:
    from moe_plan.spec.attention import CompressedAttention
    from moe_plan.witness.moments.tape import Run, Tape


class Making(NamedTuple):
    """The entries that a forward completes."""

    width: int
    """Elements of an entry."""
    made: range
    lead: int
    """Entries before them whose tokens are needed again: one, where windows overlap and there is one."""
    back: int
    """Earlier tokens whose projections are needed."""


def choice(tape: Tape, spec: CompressedAttention, run: Run) -> None:
    """The indexer over entries; its choice stays, in place of an earlier layer's."""
    assert spec.indexer is not None
    assert spec.ratio is not None
    keys = entries(tape, spec, run, spec.indexer.head_dim)
    tape.stage("indexer projections")
    heads = run.rows * spec.indexer.heads * run.itemsize
    query = tape.take(heads * spec.indexer.head_dim)
    if spec.rope is not None:
        rope.tables(tape, run, spec.rope, spec.indexer.head_dim)
        query = tape.swap(query, query)
    weights = tape.take(heads)
    chosen = indexer.choose(tape, spec.indexer, run, spec.ratio)
    tape.give(query, weights, keys)
    tape.hand(indexer.KEPT, chosen)


def entries(tape: Tape, spec: CompressedAttention, run: Run, width: int) -> int:
    """Every complete entry of `width` elements; returns the bytes of those that no cache holds."""
    tape.stage("compressor")
    making = _making(spec, run, width)
    projected = _pending(tape, spec, run, making) + _pending(tape, spec, run, making)
    if not making.made:
        tape.give(projected)
        return 0
    pooled = _pooled(tape, spec, run, making)
    tape.give(projected)
    placed = _placed(tape, spec, run, making)
    tape.give(pooled)
    if run.cached:
        tape.give(placed)
        return 0
    return placed


def _making(spec: CompressedAttention, run: Run, width: int) -> Making:
    assert spec.ratio is not None
    made = range(run.start // spec.ratio, (run.start + run.tokens) // spec.ratio)
    lead = int(spec.overlap and made.start > 0)
    return Making(width, made, lead, run.start - (made.start - lead) * spec.ratio if made else 0)


def _pending(tape: Tape, spec: CompressedAttention, run: Run, making: Making) -> int:
    """One projection of the tokens that entries are made of; returns the bytes of what no cache holds."""
    assert spec.ratio is not None
    width = making.width * (1 + spec.overlap)
    new = tape.take(run.rows * width * run.itemsize)
    if not run.cached:
        return new
    token, ring = run.sequences * width * run.itemsize, spec.ratio * (1 + spec.overlap)
    if run.tokens == 1 and making.made and making.lead and (run.start + 1) % ring:
        # A full ring that holds its newer half first is put in order.
        return tape.swap(new, ring * token)
    return store.extend(tape, run, store.Ring(ring, making.back, token), new)


def _pooled(tape: Tape, spec: CompressedAttention, run: Run, making: Making) -> int:
    """Gated means of the entries that are made; returns their bytes."""
    assert spec.ratio is not None
    one = run.sequences * spec.ratio * making.width
    used = one * (1 + spec.overlap) * (len(making.made) + making.lead)
    gates = tape.take(used * run.itemsize)
    elements = used
    if spec.overlap:
        elements = 2 * one * len(making.made)
        gates = tape.swap(gates, elements * run.itemsize)
    weights = softmax(tape, elements, run.itemsize)
    # Without overlap the gates live on; with it they are dropped.
    tape.give(gates if spec.overlap else 0)
    pooled = tape.take(run.sequences * making.width * len(making.made) * run.itemsize)
    tape.give(weights, 0 if spec.overlap else gates)
    return pooled


def _placed(tape: Tape, spec: CompressedAttention, run: Run, making: Making) -> int:
    """Entries normed, and turned by the angles of their first tokens; returns their bytes."""
    made = len(making.made)
    elements = run.sequences * made * making.width
    normed = rms(tape, elements, making.width, run.itemsize)
    if spec.rope is None:
        return normed
    places = tape.take(INT64 * made)
    rope.cosines(tape, spec.rope, making.width, made, run.itemsize)
    tables = 2 * rope.pairs(spec.rope, making.width) * made * run.itemsize
    placed = tape.take(elements * run.itemsize)
    tape.give(places, tables, normed)
    return placed

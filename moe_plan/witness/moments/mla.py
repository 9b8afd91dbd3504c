"""Multi-head latent attention: its two forms, expanded and absorbed, with or without a sparse choice.

Earlier tokens' latents are read from the cache, which is taken to be full after the last new token: the
expanded form of several sequences would copy what it reads of one that has room for more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.witness.moments import indexer, rope
from moe_plan.witness.moments.norm import rms
from moe_plan.witness.moments.spans import Held, Span, looked_at, softmax, spans
from moe_plan.witness.moments.tape import FP32, INT64

if TYPE_CHECKING:
    from moe_plan.spec.attention import MlaAttention
    from moe_plan.witness.moments.tape import Run, Tape


class Form(NamedTuple):
    """What the heads of a block of queries are multiplied with."""

    query: int
    """Elements of the plain part of a query, as it is scored."""
    value: int
    """Elements that one head mixes for a query."""
    key_rows: int
    """Rows that hold keys: sequences, or heads of all of them."""
    key_width: int


def moments(tape: Tape, spec: MlaAttention, run: Run) -> int:
    """The whole mixer; returns the bytes of its output."""
    tape.stage("mla projections")
    low = _compressed(tape, spec, run)
    if spec.indexer is not None and not spec.indexer.shared:
        indexer.moments(tape, spec, run)
    tape.stage("mla projections")
    query = _query(tape, spec, run)
    tape.give(low)
    seen = _seen(tape, spec, run)
    tape.stage("mla scores")
    out = (_absorbed if run.absorbed else _expanded)(tape, spec, run)
    tape.give(query, seen)
    tape.stage("mla output")
    # What the absorbed form mixes stands head by head, and is no row until it is copied.
    apart = run.absorbed and min(spec.heads, spec.v_dim, run.rows) > 1
    flat = tape.take(out) if apart else 0
    wide = tape.take(run.wide)
    tape.give(out, flat)
    return wide


def _compressed(tape: Tape, spec: MlaAttention, run: Run) -> int:
    if spec.q_rank is None:
        return 0
    elements = run.rows * spec.q_rank
    projected = tape.take(elements * run.itemsize)
    low = rms(tape, elements, spec.q_rank, run.itemsize)
    tape.give(projected)
    return low


def _query(tape: Tape, spec: MlaAttention, run: Run) -> int:
    """Scaled queries, and their turned part again."""
    heads = run.rows * spec.heads * run.itemsize
    flat = tape.take(heads * (spec.nope_dim + spec.rope_dim))
    factors = 0
    if spec.temperature is not None:
        spanned = tape.take(INT64 * run.tokens) + tape.take(FP32 * run.tokens)
        factors = run.itemsize * run.tokens
        tape.take(factors if run.narrow else 0)
        tape.give(spanned if run.narrow else spanned - factors)
    turned = _turned(tape, spec, run, heads * spec.rope_dim)
    tape.give(factors)
    return flat + turned


def _turned(tape: Tape, spec: MlaAttention, run: Run, size: int) -> int:
    """Heads turned by their positions, new; without positions they are what they were made from."""
    if spec.rope is None:
        return 0
    rope.tables(tape, run, spec.rope, spec.rope_dim)
    return tape.take(size)


def _seen(tape: Tape, spec: MlaAttention, run: Run) -> int:
    """What new tokens are attended to from: their own latents and turned keys, or the cache's."""
    tape.stage("mla latents")
    both = tape.take(run.rows * (spec.kv_rank + spec.rope_dim) * run.itemsize)
    turned = _turned(tape, spec, run, run.rows * spec.rope_dim * run.itemsize)
    latent = rms(tape, run.rows * spec.kv_rank, spec.kv_rank, run.itemsize)
    # A key that is not turned is a view of the projection.
    new = latent + (turned if spec.rope is not None else both)
    tape.give(both if spec.rope is not None else 0)
    if run.cached and run.start:
        tape.give(new)
        return 0
    return new


def _expanded(tape: Tape, spec: MlaAttention, run: Run) -> int:
    """Attention over keys and values of every head; returns the bytes of its output."""
    size, rows = run.itemsize, spec.heads * run.sequences
    width = spec.nope_dim + spec.v_dim
    tokens = run.start + run.tokens
    both = tape.take(rows * tokens * width * size)
    by_head = run.sequences > 1 and spec.heads > 1
    turned = tape.take(rows * tokens * spec.rope_dim * size) if by_head else 0
    out = tape.take(run.rows * spec.heads * spec.v_dim * size)
    form = Form(spec.nope_dim, spec.v_dim, rows, width + spec.rope_dim)
    part = 0
    for span in spans(run):
        # The part of the block before lives until this one's is made.
        copied = rows * span.queries * (spec.nope_dim + spec.rope_dim) * size if by_head else 0
        part = tape.swap(part, copied)
        tape.give(_block(tape, spec, run, span, form))
    tape.give(both, turned, part)
    return out


def _absorbed(tape: Tape, spec: MlaAttention, run: Run) -> int:
    """Attention over the latents themselves; returns the bytes of its output."""
    size = run.itemsize
    latent = tape.take(run.rows * spec.heads * spec.kv_rank * size)
    mixed = tape.take(latent)
    form = Form(spec.kv_rank, spec.kv_rank, run.sequences, spec.kv_rank + spec.rope_dim)
    for span in spans(run):
        tape.give(_block(tape, spec, run, span, form))
    tape.give(latent)
    out = tape.take(run.rows * spec.heads * spec.v_dim * size)
    tape.give(mixed)
    return out


def _block(tape: Tape, spec: MlaAttention, run: Run, span: Span, form: Form) -> int:
    """A block of queries; returns the bytes of what its heads mix, which the caller copies into place."""
    rows = run.sequences * spec.heads * span.queries
    chosen = 0 if spec.indexer is None else indexer.chosen(spec.indexer, span)
    looked = looked_at(tape, run, span, Held(form.key_rows, form.key_width, chosen))
    # Several queries of a head of latents stand apart in memory until they are copied.
    apart = run.absorbed and span.queries > 1 and spec.heads > 1
    copied = tape.take(rows * form.query * run.itemsize) if apart else 0
    scores = tape.take(rows * looked.keys * run.itemsize)
    tape.give(copied, looked.mask)
    weights = softmax(tape, rows * looked.keys, run.itemsize)
    tape.give(scores)
    mixed = tape.take(rows * form.value * run.itemsize)
    tape.give(weights, looked.gathered)
    return mixed

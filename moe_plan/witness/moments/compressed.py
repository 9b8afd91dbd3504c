"""DeepSeek-V4's attention: a window of shared vectors and compressed entries, under one softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.witness.moments import compressor, indexer, rope, store
from moe_plan.witness.moments.norm import rms
from moe_plan.witness.moments.spans import Held, Span, looked_at, spans
from moe_plan.witness.moments.tape import BOOL, FP32, INT64

if TYPE_CHECKING:
    from moe_plan.spec.attention import CompressedAttention
    from moe_plan.witness.moments.tape import Run, Tape


def moments(tape: Tape, spec: CompressedAttention, run: Run) -> int:
    """The whole mixer; returns the bytes of its output."""
    tape.stage("compressed projections")
    low = _normed(tape, run, spec.q_rank)
    if spec.indexer is not None and spec.ratio is not None and not spec.indexer.shared:
        compressor.choice(tape, spec, run)
    query = _query(tape, spec, run)
    tape.give(low)
    entries = 0 if spec.ratio is None else compressor.entries(tape, spec, run, spec.head_dim)
    window = _window(tape, spec, run)
    out = tape.take(run.rows * spec.heads * spec.head_dim * run.itemsize)
    tape.stage("compressed scores")
    for span in spans(run):
        _block(tape, spec, run, span)
    tape.give(query, window, entries)
    tape.stage("compressed output")
    if spec.rope is not None:
        back = tape.take(rope.pairs(spec.rope, spec.head_dim) * run.tokens * run.itemsize)
        turned = tape.take(out)
        tape.give(back, out)
        out = turned
    return _projected(tape, spec, run, out)


def _normed(tape: Tape, run: Run, width: int) -> int:
    """A projection of the input to `width`, normed."""
    projected = tape.take(run.rows * width * run.itemsize)
    normed = rms(tape, run.rows * width, width, run.itemsize)
    tape.give(projected)
    return normed


def _turned(tape: Tape, spec: CompressedAttention, run: Run, size: int) -> int:
    """Vectors of `size` bytes turned by their positions, in place of those given."""
    if spec.rope is None:
        return size
    rope.tables(tape, run, spec.rope, spec.head_dim)
    return tape.swap(size, size)


def _query(tape: Tape, spec: CompressedAttention, run: Run) -> int:
    tape.stage("compressed projections")
    elements = run.rows * spec.heads * spec.head_dim
    heads = tape.take(elements * run.itemsize)
    normed = rms(tape, elements, spec.head_dim, run.itemsize, weighs=False)
    tape.give(heads)
    return _turned(tape, spec, run, normed)


def _window(tape: Tape, spec: CompressedAttention, run: Run) -> int:
    """Vectors of the windows of the new tokens; returns the bytes of those that no cache holds."""
    vectors = _turned(tape, spec, run, _normed(tape, run, spec.head_dim))
    if not run.cached:
        return vectors
    token = run.sequences * spec.head_dim * run.itemsize
    ring = store.Ring(spec.window, min(run.start, spec.window - 1), token)
    return store.extend(tape, run, ring, vectors)


def _block(tape: Tape, spec: CompressedAttention, run: Run, span: Span) -> None:
    """A block of queries: both kinds of keys, one softmax, and what is mixed."""
    first = run.start + span.first
    near = span.queries + min(first, spec.window - 1)
    mask = _window_mask(tape, span.queries, near)
    sizes, gathered = [near], 0
    if spec.ratio is not None and span.entries(spec.ratio):
        chosen = 0 if spec.indexer is None else indexer.chosen(spec.indexer, span, spec.ratio)
        held = Held(run.sequences, spec.head_dim, chosen)
        looked = looked_at(tape, run, span, held, spec.ratio)
        sizes.append(looked.keys)
        gathered = looked.gathered + looked.mask
    weights = _softmax(tape, spec, run, span, sizes)
    rows = run.sequences * span.queries * spec.heads
    mixed = tape.take(rows * spec.head_dim * run.itemsize)
    tape.give(*weights, mask, gathered, mixed)


def _window_mask(tape: Tape, queries: int, keys: int) -> int:
    """True where a query must not look, [b, W]; returns its bytes, 0 for one query."""
    if queries == 1:
        return 0
    places = tape.take(INT64 * (queries + keys))
    hidden = tape.take(BOOL * queries * keys)
    tape.flash(INT64 * queries, BOOL * queries * keys)
    tape.give(places)
    return hidden


def _softmax(tape: Tape, spec: CompressedAttention, run: Run, span: Span, sizes: list[int]) -> list[int]:
    """Weights of each kind of key, `sizes` how many there are; returns the bytes of each."""
    rows = run.sequences * span.queries * spec.heads
    sinks = span.queries * spec.heads
    narrow = [tape.take(rows * keys * run.itemsize) for keys in sizes]
    repeated = tape.take(sinks * run.itemsize) if spec.sinks else 0
    wide = narrow
    if run.narrow:
        wide = [tape.take(rows * keys * FP32) for keys in sizes]
        tape.give(*narrow)
    one = FP32 * rows
    highest = tape.take(one)
    for _ in sizes[1:]:
        highest = tape.swap(highest + tape.take(one), one)
    total = tape.take(one)
    if spec.sinks:
        highest = tape.swap(highest, one)
        floats = tape.take(FP32 * sinks) if run.narrow else 0
        tape.give(tape.swap(floats, one))
    tape.flash(one)
    weights = wide
    if run.narrow:
        weights = [tape.take(rows * keys * run.itemsize) for keys in sizes]
        tape.give(*wide)
    tape.give(highest, total, repeated)
    return weights


def _projected(tape: Tape, spec: CompressedAttention, run: Run, out: int) -> int:
    """The output of low rank, group by group, then of all groups; frees `out` and returns its own."""
    low = tape.take(run.rows * spec.o_groups * spec.o_rank * run.itemsize)
    # Groups stand one after the other, and are no rows until they are copied.
    copied = tape.take(low) if min(spec.o_groups, spec.o_rank, run.rows) > 1 else 0
    wide = tape.take(run.wide)
    tape.give(low, copied, out)
    return wide

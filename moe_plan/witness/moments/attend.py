"""Softmax attention a block of queries at a time: scores, their mask, and the weights made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.witness.moments.tape import BOOL, FP32, INT64

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.witness.moments.tape import Run, Tape


class Sight(NamedTuple):
    """What a token sees: its window, its chunk, everything before it, or everything."""

    window: int | None = None
    chunk: int | None = None
    causal: bool = True

    def back(self, position: int) -> int:
        """Earlier tokens that the token at `position` sees."""
        if self.window is not None:
            return min(position, self.window - 1)
        return position % self.chunk if self.chunk is not None else position


class Heads(NamedTuple):
    """Sizes of an attention over heads that share keys."""

    groups: int
    """Sequences x key-value heads."""
    heads: int
    """Query heads of a key-value head."""
    value_dim: int
    head_dim: int
    sinks: bool = False


class Block(NamedTuple):
    """A block of queries, and the keys that any of them sees."""

    queries: int
    keys: int


def blocks(run: Run, sight: Sight, keys: int) -> Iterator[Block]:
    """The blocks of one attention; `keys` is what is held when its last query is asked."""
    for first in range(0, run.tokens, run.query_block):
        last = min(first + run.query_block, run.tokens)
        if sight.causal and run.tokens > 1:
            seen = last - first + sight.back(run.start + first)
            yield Block(last - first, seen)
        else:
            yield Block(last - first, keys)


def attend(tape: Tape, run: Run, sight: Sight, heads: Heads, keys: int) -> int:
    """Every block in turn; returns the bytes of the output [N, R, T, e], which stay taken."""
    tape.stage("attention scores")
    rows = heads.groups * heads.heads
    out = tape.take(rows * run.tokens * heads.value_dim * run.itemsize)
    for block in blocks(run, sight, keys):
        flat = 0
        if heads.heads > 1 and 1 < block.queries < run.tokens:
            # Some of the queries of several heads are no rows of a matrix until they are copied.
            flat = tape.take(rows * block.queries * heads.head_dim * run.itemsize)
        scores = tape.take(rows * block.queries * block.keys * run.itemsize)
        if sight.causal and block.queries > 1:
            tape.give(_mask(tape, sight, block))
        weights = _softmax(tape, run, block, heads, scores)
        tape.flash(rows * block.queries * heads.value_dim * run.itemsize)
        tape.give(flat, weights)
    return out


def _mask(tape: Tape, sight: Sight, block: Block) -> int:
    """True where a query must not look, [queries, keys]; freed as soon as scores are filled by it."""
    places = tape.take(INT64 * (block.queries + block.keys))
    hidden = tape.take(BOOL * block.queries * block.keys)
    bound = INT64 * block.queries
    if sight.window is not None:
        tape.flash(bound, hidden)
    elif sight.chunk is not None:
        tape.give(tape.swap(tape.take(bound), bound))
        tape.flash(bound, hidden)
    tape.give(places)
    return hidden


def _softmax(tape: Tape, run: Run, block: Block, heads: Heads, scores: int) -> int:
    """Weights of the compute type for `scores`, which are freed; returns their bytes."""
    rows = heads.groups * heads.heads * block.queries
    wide, sums = FP32 * rows * block.keys, FP32 * rows
    if not heads.sinks:
        if not run.narrow:
            return tape.swap(scores, wide)
        copy = tape.take(wide)
        weights = tape.take(wide)
        tape.give(scores, copy)
        return tape.swap(weights, rows * block.keys * run.itemsize)
    if run.narrow:
        scores = tape.swap(scores, wide)
    highest = tape.take(sums)
    total = tape.take(sums)
    highest = tape.swap(highest, sums)
    sinks = tape.take(FP32 * heads.groups * heads.heads) if run.narrow else 0
    tape.give(tape.swap(sinks, sums))
    tape.flash(sums)
    weights = tape.swap(scores, rows * block.keys * run.itemsize) if run.narrow else scores
    tape.give(highest, total)
    return weights

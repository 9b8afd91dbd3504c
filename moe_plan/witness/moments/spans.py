"""A block of queries of latent or compressed attention: what it looks at, its mask, and its softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.witness.moments.tape import BOOL, FP32, INT64

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.witness.moments.tape import Run, Tape


class Span(NamedTuple):
    """New tokens `first` to `last` - 1 of a forward whose first new token stands at `start`."""

    start: int
    first: int
    last: int

    @property
    def queries(self) -> int:
        """Queries of the block."""
        return self.last - self.first

    def entries(self, ratio: int = 1) -> int:
        """Entries of `ratio` tokens that are complete when its last query is asked."""
        return (self.start + self.last) // ratio


class Held(NamedTuple):
    """Keys, and what is known of them."""

    rows: int
    """Sequences; where each head has keys of its own, times heads."""
    width: int
    """Elements of a key, and of its value where it has one."""
    chosen: int
    """How many of them each query has chosen; 0 where it has not."""


class Looked(NamedTuple):
    """Bytes that a block takes to look at its keys."""

    gathered: int
    """Copies of the chosen keys; nothing where it looks at all."""
    mask: int
    keys: int
    """How many keys each query is scored with."""


def spans(run: Run) -> Iterator[Span]:
    """The blocks of queries of one forward."""
    block = run.query_block
    return (Span(run.start, at, min(at + block, run.tokens)) for at in range(0, run.tokens, block))


def unseen(tape: Tape, span: Span, ratio: int = 1) -> int:
    """The mask of entries that are not complete for each query, [b, E]; 0 bytes for one query."""
    if span.queries == 1:
        return 0
    places = tape.take(INT64 * (span.queries + span.entries(ratio)))
    return tape.swap(places, BOOL * span.queries * span.entries(ratio))


def looked_at(tape: Tape, run: Run, span: Span, held: Held, ratio: int = 1) -> Looked:
    """What a block takes to look at the keys that it may see, one for `ratio` tokens."""
    entries = span.entries(ratio)
    if not held.chosen:
        return Looked(0, unseen(tape, span, ratio), entries)
    if span.queries == 1:
        kept = held.rows * held.chosen
        places = tape.take(INT64 * kept)
        return Looked(tape.swap(places, run.itemsize * kept * held.width), 0, held.chosen)
    hidden = unseen(tape, span, ratio)
    return Looked(0, tape.swap(hidden, BOOL * run.sequences * span.queries * entries), entries)


def softmax(tape: Tape, elements: int, itemsize: int) -> int:
    """Weights of scores that stay: made in float32, then cast; returns their bytes."""
    wide = FP32 * elements
    if itemsize == FP32:
        return tape.take(wide)
    weights = tape.swap(tape.take(wide), wide)
    return tape.swap(weights, elements * itemsize)

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
    """The mask of entries that are not complete for each query, [b, E]; returns its bytes, 0 for one query."""
    if span.queries == 1:
        return 0
    places = tape.take(INT64 * (span.queries + span.entries(ratio)))
    return tape.swap(places, BOOL * span.queries * span.entries(ratio))


def looked_at(
    tape: Tape, run: Run, span: Span, vectors: tuple[int, int], chosen: int = 0, ratio: int = 1
) -> Looked:
    """Keys of a block, `vectors`: how many tensors' rows hold keys, and their elements for each key.

    `chosen` is how many keys each query has chosen, 0 where it has not.
    """
    rows, width = vectors
    entries = span.entries(ratio)
    if not chosen:
        return Looked(0, unseen(tape, span, ratio), entries)
    if span.queries == 1:
        places = tape.take(INT64 * rows * chosen)
        return Looked(tape.swap(places, run.itemsize * rows * chosen * width), 0, chosen)
    hidden = unseen(tape, span, ratio)
    return Looked(0, tape.swap(hidden, BOOL * run.sequences * span.queries * entries), entries)


def softmax(tape: Tape, elements: int, itemsize: int) -> int:
    """Weights of scores that stay: made in float32, then cast; returns their bytes."""
    wide = FP32 * elements
    if itemsize == FP32:
        return tape.take(wide)
    weights = tape.swap(tape.take(wide), wide)
    return tape.swap(weights, elements * itemsize)

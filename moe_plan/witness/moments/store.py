"""Entries of a cache: what is allocated beside it while new ones are written, and to hand them on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.witness.moments.tape import INT64

if TYPE_CHECKING:
    from moe_plan.witness.moments.tape import Run, Tape


class Ring(NamedTuple):
    """A cache of the last tokens, or of all."""

    limit: int | None
    """Tokens that it holds at most."""
    back: int
    """Earlier tokens that are looked at."""
    width: int
    """Bytes of one token's entries in all sequences."""


def extend(tape: Tape, run: Run, ring: Ring, new: int) -> int:
    """Keep the new tokens' entries, of `new` bytes, and return the bytes taken by those that are looked at.

    Without a limit the cache itself is looked at, and what was new is freed; within a ring, so it is by a
    single token. Otherwise what is looked at is what was new, or a copy of it with the entries before it.
    """
    limit, back, width = ring
    if limit is None:
        tape.give(new)
        return 0
    if run.tokens == 1:
        end = run.start % limit + 1
        seen = 0 if back + 1 <= end or back + 1 == limit else _recent(tape, back + 1, width)
        if seen:
            # Entries of a ring are gathered and then joined by a cat of one, which copies.
            seen = tape.swap(seen, seen)
        tape.give(new)
        return seen
    past = _recent(tape, back, width)
    _write(tape, run, limit)
    if back == 0:
        return new
    joined = tape.take((back + run.tokens) * width)
    tape.give(past, new)
    return joined


def _recent(tape: Tape, back: int, width: int) -> int:
    """The last `back` entries, gathered by their places in the ring."""
    places = tape.swap(tape.take(INT64 * back), INT64 * back)
    gathered = tape.take(back * width)
    tape.give(places)
    return gathered


def _write(tape: Tape, run: Run, limit: int) -> None:
    """Entries that cross the ring's end are written by their places."""
    if run.start % limit + run.tokens > limit:
        places = INT64 * min(run.tokens, limit)
        tape.give(tape.swap(tape.take(places), places))

"""Caches that hold the last tokens in a ring: what it takes to extend them and to read them in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.witness.moments.tape import INT64

if TYPE_CHECKING:
    from moe_plan.witness.moments.tape import Run, Tape


def extended(tape: Tape, run: Run, ring: tuple[int, int], back: int, new: int) -> int:
    """New tokens with the last `back` earlier ones, in order of time; returns the bytes no cache holds.

    `ring`: elements of a token, and tokens of the ring. `new` are the bytes of the new tokens, which are
    given back unless they are the result.
    """
    width, limit = ring
    if run.tokens == 1:
        # Read from the ring itself.
        tape.give(new)
        return 0
    past = 0
    if back:
        places = tape.take(INT64 * back)
        places = tape.swap(places, INT64 * back)
        past = tape.swap(places, run.sequences * back * width * run.itemsize)
    if run.start % limit + run.tokens > limit:
        kept = INT64 * min(run.tokens, limit)
        tape.give(tape.swap(tape.take(kept), kept))
    if not back:
        return new
    seen = tape.take(run.sequences * (back + run.tokens) * width * run.itemsize)
    tape.give(past, new)
    return seen

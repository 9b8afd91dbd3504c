"""T5's relative positions: the bucket of every distance, and the bias that a table has for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.witness.moments.tape import BOOL, FP32, INT64

if TYPE_CHECKING:
    from moe_plan.spec.attention import Attention
    from moe_plan.witness.moments.tape import Run, Tape


def bias(tape: Tape, spec: Attention, run: Run, keys: int) -> int:
    """Bytes of the bias [N, R, T, S] that a block adds to its scores, or 0 where it has none."""
    if spec.cross or not (spec.shared_positions or spec.position_buckets is not None):
        return 0
    tape.stage("relative positions")
    places = tape.take(INT64 * (run.tokens + keys))
    buckets = _buckets(tape, run.tokens * keys, causal=spec.causal)
    table = tape.swap(buckets, run.tokens * keys * spec.heads * run.itemsize)
    tape.give(places)
    if run.sequences > 1 and spec.kv_heads > 1:
        return tape.swap(table, table * run.sequences)
    return table


def _buckets(tape: Tape, pairs: int, *, causal: bool) -> int:
    """Bucket of each pair of query and key."""
    whole, real = INT64 * pairs, FP32 * pairs
    offset, base = tape.take(whole), tape.take(whole)
    if not causal:
        later = tape.swap(tape.swap(tape.take(BOOL * pairs), whole), whole)
        tape.give(base)
        base = later
    apart = tape.take(whole)
    far = tape.swap(tape.take(whole), real)
    for _ in ("over the exact ones", "logarithm", "over that of the distance"):
        far = tape.swap(far, real)
    bucket = tape.swap(tape.swap(tape.take(real), real), whole)
    exact = tape.take(BOOL * pairs)
    chosen = tape.swap(exact, whole)
    out = tape.swap(chosen, whole)
    tape.give(offset, base, apart, far, bucket)
    return out

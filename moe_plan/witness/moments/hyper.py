"""Hyper-connections: the maps of a token, what is read of its streams, and the streams written again."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.witness.moments.scan import widened
from moe_plan.witness.moments.tape import FP32

if TYPE_CHECKING:
    from moe_plan.witness.moments.tape import Run, Tape


class Read(NamedTuple):
    """What `read` leaves live."""

    out: int
    """Bytes of the block's input [B, T, D]."""
    carry: int
    """Bytes of the weights that `write` needs."""


def read(tape: Tape, streams: int, run: Run) -> Read:
    """The block's input from the streams; the caller gives both back, the carry after `write`."""
    tape.stage("hyper-connections read")
    count = streams * (streams + 2)
    maps = _projected(tape, streams, run, count)
    small = widened(tape, run, 3) + widened(tape, run, count)
    one, mixing = FP32 * run.rows * streams, FP32 * run.rows * streams**2
    pre = tape.swap(tape.swap(tape.take(one), one), one)
    post = tape.swap(tape.swap(tape.take(one), one), one)
    logits = tape.swap(tape.take(mixing), mixing)
    weights = tape.take(mixing)
    tape.flash(one)
    tape.give(logits)
    carry = post + weights
    if run.narrow:
        carry = tape.take((one + mixing) * run.itemsize // FP32)
    out = _sum(tape, run)
    tape.give(maps, small, pre, post + weights if run.narrow else 0)
    return Read(out, carry)


def write(tape: Tape, streams: int, run: Run) -> int:
    """The streams after the block; returns their bytes. The caller frees the old ones, output, carry."""
    tape.stage("hyper-connections write")
    return tape.take(streams * run.wide)


def head(tape: Tape, streams: int, run: Run) -> int:
    """One stream from all, after the last layer; returns its bytes."""
    tape.stage("hyper-connections head")
    maps = _projected(tape, streams, run, streams)
    tape.give(widened(tape, run, 1))
    tape.give(widened(tape, run, streams))
    weights = tape.take(maps)
    out = _sum(tape, run)
    tape.give(maps, weights)
    return out


def _projected(tape: Tape, streams: int, run: Run, count: int) -> int:
    """`count` maps of the normed streams of each token, in float32; returns their bytes."""
    elements = run.rows * streams * run.hidden
    wide = widened(tape, run, elements)
    factor = tape.swap(tape.take(FP32 * elements), FP32 * run.rows)
    weights = widened(tape, run, count * streams * run.hidden)
    maps = tape.take(FP32 * run.rows * count)
    tape.give(wide, factor, weights)
    return maps


def _sum(tape: Tape, run: Run) -> int:
    """Weighted sum of the streams, in float32, then in the compute type; returns its bytes."""
    total = tape.take(FP32 * run.rows * run.hidden)
    return tape.swap(total, run.wide) if run.narrow else total

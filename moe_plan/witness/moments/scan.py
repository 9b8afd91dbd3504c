"""What recurrences share: convolutions before a scan, float32 copies for it, decays, norms and gates.

A scan allocates nothing: its state is the cache's, and its outputs take the place of its values. A mixer
that keeps no state is not known here: every decoder layer has a cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.witness.moments.tape import FP32

if TYPE_CHECKING:
    from moe_plan.witness.moments.tape import Run, Tape


def across(run: Run, width: int) -> int:
    """Bytes of [B, T, width] in the compute type."""
    return run.rows * width * run.itemsize


def convolved(tape: Tape, run: Run, channels: int, taps: int) -> int:
    """A convolution of a projection of the input; returns its bytes."""
    projected = tape.take(across(run, channels))
    joined = tape.swap(projected, run.sequences * (taps - 1 + run.tokens) * channels * run.itemsize)
    return tape.swap(joined, across(run, channels))


def is_viewed(run: Run, parts: int = 1, *, dense: bool = True) -> bool:
    """Whether `token_major` returns a view: of float32, and where tokens follow each other already.

    `dense`: the channels are all there are in a row, not some of them.
    """
    return not run.narrow and (run.sequences == 1 or (run.tokens == 1 and parts == 1 and dense))


def token_major(tape: Tape, run: Run, made: int, width: int, parts: int = 1) -> int:
    """`made`, of `width` channels, in float32 with tokens first; freed where copied."""
    return made if is_viewed(run, parts) else tape.swap(made, run.rows * width * FP32)


def widened(tape: Tape, run: Run, elements: int) -> int:
    """A weight in float32: its bytes, nothing where it is that already."""
    return tape.take(FP32 * elements) if run.narrow else 0


def rates(tape: Tape, run: Run, elements: int) -> int:
    """Minus the exponential of a weight, in float32; returns its bytes."""
    one = FP32 * elements
    wide = widened(tape, run, elements)
    return tape.swap(tape.swap(wide, one), one)


def normed(tape: Tape, run: Run, elements: int, width: int) -> None:
    """A norm in place, by rows of `width`: the squares and their sums live for a moment."""
    sums = FP32 * (run.rows * elements // width)
    tape.give(tape.swap(tape.take(FP32 * run.rows * elements), sums))


def gated(tape: Tape, run: Run, width: int, scanned: int, low: int = 0) -> int:
    """The gate, times what was scanned, which is freed; returns the bytes of the gate.

    `low`: width that the gate is projected through, if any. In a narrow type what was scanned is copied.
    """
    gate = tape.swap(tape.take(across(run, low)), across(run, width))
    tape.flash(gate if run.narrow else 0)
    tape.give(scanned)
    return gate


def output(tape: Tape, run: Run, mixed: int) -> int:
    """The output projection, after which `mixed` is freed; returns its bytes."""
    return tape.swap(mixed, run.wide)

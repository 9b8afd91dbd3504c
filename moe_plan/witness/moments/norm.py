"""Norms of the residual stream and of heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.witness.moments.tape import FP32

if TYPE_CHECKING:
    from moe_plan.spec.model import Norm
    from moe_plan.witness.moments.tape import Run, Tape


def rms(tape: Tape, elements: int, width: int, itemsize: int, *, weighs: bool = True) -> int:
    """`elements` normed in float32, `width` at a time; returns the bytes of the result, which stay taken."""
    narrow, size = itemsize < FP32, elements * itemsize
    copy, normed = _normed(tape, elements, width, narrow=narrow)
    if narrow:
        out = tape.take(size)
        out = tape.swap(out, size) if weighs else out
        tape.give(copy, normed)
        return out
    return tape.swap(normed, size) if weighs else normed


def rms_zero_centered(tape: Tape, elements: int, width: int, itemsize: int) -> int:
    """As `rms`, with weights that are stored less one: they are added to one, and applied, in float32."""
    narrow = itemsize < FP32
    copy, normed = _normed(tape, elements, width, narrow=narrow)
    weight = tape.take(FP32 * width) if narrow else 0
    out = tape.swap(tape.swap(weight, FP32 * width), normed)
    if narrow:
        out = tape.swap(out, elements * itemsize)
    tape.give(copy, normed)
    return out


def _normed(tape: Tape, elements: int, width: int, *, narrow: bool) -> tuple[int, int]:
    """Bytes of the elements in float32, where they were not, and of the same over their root mean square."""
    wide, sums = FP32 * elements, FP32 * (elements // width)
    copy = tape.take(wide) if narrow else 0
    mean = tape.swap(tape.take(wide), sums)
    return copy, tape.swap(tape.swap(tape.swap(mean, sums), sums), wide)


def residual_norm(tape: Tape, norm: Norm, run: Run) -> int:
    """One norm of the residual stream over [B, T, D]; returns its bytes."""
    tape.stage("norm")
    if norm.kind == "rms":
        kind = rms_zero_centered if norm.zero_centered else rms
        return kind(tape, run.rows * run.hidden, run.hidden, run.itemsize)
    # Mean and reciprocal deviation of each token come with the result, and are dropped.
    weight = tape.take(run.hidden * run.itemsize) if norm.zero_centered else 0
    out = tape.take(run.wide)
    tape.flash(2 * run.rows * run.itemsize)
    tape.give(weight)
    return out

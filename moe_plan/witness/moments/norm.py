"""Norms of the residual stream and of heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.witness.moments.tape import FP32

if TYPE_CHECKING:
    from moe_plan.spec.model import Norm
    from moe_plan.witness.moments.tape import Run, Tape


def rms(
    tape: Tape, elements: int, width: int, itemsize: int, *, weighs: bool = True, zero_centered: bool = False
) -> int:
    """`elements` normed in float32 by `width`; returns the bytes of the result, which stay taken."""
    wide, sums, narrow = FP32 * elements, FP32 * (elements // width), itemsize < FP32
    copy = tape.take(wide) if narrow else 0
    square = tape.take(wide)
    mean = tape.swap(square, sums)
    factor = tape.swap(tape.swap(mean, sums), sums)
    normed = tape.swap(factor, wide)
    if weighs and zero_centered:
        weight = tape.take(FP32 * width) if narrow else 0
        weight = tape.swap(weight, FP32 * width)
        product = tape.swap(weight, wide)
        out = tape.swap(product, elements * itemsize) if narrow else product
        tape.give(copy, normed)
        return out
    out = tape.take(elements * itemsize) if narrow else normed
    if weighs:
        out = tape.swap(out, elements * itemsize) if narrow else tape.take(wide)
    tape.give(copy + normed if narrow or weighs else 0)
    return out


def residual_norm(tape: Tape, norm: Norm, run: Run) -> int:
    """One norm of the residual stream over [B, T, D]; returns its bytes."""
    tape.stage("norm")
    if norm.kind == "rms":
        elements = run.rows * run.hidden
        return rms(tape, elements, run.hidden, run.itemsize, zero_centered=norm.zero_centered)
    # Mean and reciprocal deviation of each token come with the result, and are dropped.
    tape.flash(run.wide, 2 * run.rows * run.itemsize)
    return tape.take(run.wide)

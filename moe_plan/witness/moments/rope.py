"""Tables of cosines and sines, made once in a forward for each setting, and heads turned by them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.witness.moments.tape import FP32, INT64

if TYPE_CHECKING:
    from moe_plan.spec.rope import Rope
    from moe_plan.witness.moments.tape import Run, Tape


def tables(tape: Tape, run: Run, rope: Rope, head_dim: int) -> None:
    """Cosines and sines [T, R] of the new tokens, kept until the forward ends."""
    key = ("rope", rope, head_dim)
    if tape.keeps(key):
        return
    tape.stage("rope tables")
    size = pairs(rope, head_dim) * run.tokens
    positions = tape.take(INT64 * run.tokens)
    cosines(tape, rope, head_dim, run.tokens, run.itemsize)
    tape.give(positions)
    tape.hand(key, 2 * size * run.itemsize)


def cosines(tape: Tape, rope: Rope, head_dim: int, positions: int, itemsize: int) -> None:
    """What `rope.tables` allocates and returns, 2 x [T, R], for positions that are there."""
    columns = pairs(rope, head_dim)
    size = columns * positions
    frequencies = _frequencies(tape, rope, columns)
    wide = tape.take(FP32 * positions)
    angles = tape.take(FP32 * size)
    tape.give(wide)
    cos = tape.take(FP32 * size)
    if itemsize < FP32:
        tape.take(2 * size * itemsize)
        tape.give(angles, cos)
    tape.give(frequencies)


def pairs(rope: Rope, head_dim: int) -> int:
    """Columns of a table: R."""
    if rope.proportional:
        return head_dim // 2
    return min(rope.dim or head_dim, head_dim) // 2


def _frequencies(tape: Tape, rope: Rope, columns: int) -> int:
    """Radians a position of each pair, [R]: what it is made from lives until it is returned."""
    one = FP32 * columns
    exponents = tape.swap(tape.swap(tape.take(INT64 * columns), one), one)
    frequencies = tape.swap(tape.take(one), one)
    if rope.scaling is not None:
        # Beside what is blended: turns and ramp of Llama 3, or channels of YaRN, and the ramp clamped.
        others = 4 if rope.scaling.kind == "llama3" else 3
        tape.flash(one, others * one)
    tape.give(exponents)
    return frequencies

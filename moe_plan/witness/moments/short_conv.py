"""Gated short convolution (LFM2): a convolution between two gates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.witness.moments import scan

if TYPE_CHECKING:
    from moe_plan.spec.attention import ShortConv
    from moe_plan.witness.moments.tape import Run, Tape


def moments(tape: Tape, spec: ShortConv, run: Run) -> int:
    """The whole mixer; returns the bytes of its output."""
    tape.stage("short convolution")
    inputs = tape.take(run.wide)
    tape.flash(run.wide)
    carried = run.sequences * (spec.taps - 1) * run.hidden * run.itemsize
    joined = tape.swap(inputs, carried + run.wide)
    convolved = tape.swap(joined, run.wide)
    tape.flash(run.wide)
    return scan.output(tape, run, convolved)

"""The mixer of Nemotron-H and Granite 4: one decay for each head, B and C for each group."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.witness.moments import scan
from moe_plan.witness.moments.tape import FP32

if TYPE_CHECKING:
    from moe_plan.spec.attention import Mamba2
    from moe_plan.witness.moments.tape import Run, Tape


def moments(tape: Tape, spec: Mamba2, run: Run) -> int:
    """The whole mixer; returns the bytes of its output."""
    inner = spec.heads * spec.head_dim
    scanned = _scanned(tape, spec, run, inner)
    tape.stage("mamba output")
    gate = tape.take(scan.across(run, inner))
    if run.narrow:
        gate = tape.swap(gate, FP32 * run.rows * inner)
    tape.give(scanned)
    scan.normed(tape, run, inner, inner // spec.groups)
    tape.give(scan.widened(tape, run, inner))
    if run.narrow:
        gate = tape.swap(gate, scan.across(run, inner))
    return scan.output(tape, run, gate)


def _scanned(tape: Tape, spec: Mamba2, run: Run, inner: int) -> int:
    """What the state gives each token, in float32; returns its bytes."""
    tape.stage("mamba convolution")
    width = 2 * spec.groups * spec.state
    both = scan.token_major(tape, run, scan.convolved(tape, run, width, spec.conv), width, 2)
    steps, decays = _decays(tape, spec, run)
    inputs = scan.token_major(tape, run, scan.convolved(tape, run, inner, spec.conv), inner)
    tape.stage("mamba scan")
    values = tape.take(FP32 * run.rows * inner)
    tape.give(scan.widened(tape, run, spec.heads))
    tape.give(both, steps, decays, inputs)
    return values


def _decays(tape: Tape, spec: Mamba2, run: Run) -> tuple[int, int]:
    """Time steps and decays of each head; returns the bytes of both."""
    one = FP32 * run.rows * spec.heads
    raw = scan.token_major(tape, run, tape.take(scan.across(run, spec.heads)), spec.heads)
    tape.give(scan.widened(tape, run, spec.heads))
    steps = tape.swap(raw, one)
    return steps, tape.swap(scan.rates(tape, run, spec.heads), one)

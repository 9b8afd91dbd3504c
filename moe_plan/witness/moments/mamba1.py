"""Mamba's mixer: the time step, B and C of each token, and one token's decay at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.witness.moments import scan
from moe_plan.witness.moments.norm import rms
from moe_plan.witness.moments.tape import FP32

if TYPE_CHECKING:
    from moe_plan.spec.attention import Mamba1
    from moe_plan.witness.moments.tape import Run, Tape


def moments(tape: Tape, spec: Mamba1, run: Run) -> int:
    """The whole mixer; returns the bytes of its output."""
    scanned = _scanned(tape, spec, run)
    tape.stage("mamba output")
    return scan.output(tape, run, scan.gated(tape, run, spec.inner, scanned))


def _scanned(tape: Tape, spec: Mamba1, run: Run) -> int:
    """What the state gives each token, in float32; returns its bytes."""
    tape.stage("mamba convolution")
    inputs = scan.convolved(tape, run, spec.inner, spec.conv)
    tape.stage("mamba choices")
    steps, chosen = _chosen(tape, spec, run)
    inputs = scan.token_major(tape, run, inputs, spec.inner)
    values = tape.take(FP32 * run.rows * spec.inner)
    tape.stage("mamba scan")
    one = FP32 * spec.inner * spec.state
    rates = tape.swap(scan.widened(tape, run, spec.inner * spec.state), one)
    if spec.inner > 1 and spec.state > 1:
        rates = tape.swap(rates, one)
    decay = tape.take(run.sequences * one)
    tape.give(rates, decay)
    tape.give(scan.widened(tape, run, spec.inner))
    tape.give(inputs, steps, chosen)
    return values


def _chosen(tape: Tape, spec: Mamba1, run: Run) -> tuple[int, int]:
    """Time steps, and B and C, which may be views of one projection; returns the bytes of both."""
    projected = tape.take(scan.across(run, spec.dt_rank + 2 * spec.state))
    low, both = 0, projected
    if spec.inner_norms:
        low = rms(tape, run.rows * spec.dt_rank, spec.dt_rank, run.itemsize)
        both = sum(rms(tape, run.rows * spec.state, spec.state, run.itemsize) for _ in "bc")
        tape.give(projected)
    raw = tape.take(scan.across(run, spec.inner))
    raw = scan.token_major(tape, run, raw, spec.inner)
    tape.give(scan.widened(tape, run, spec.inner))
    steps = tape.take(FP32 * run.rows * spec.inner)
    copies = 0
    if not scan.is_viewed(run, dense=spec.inner_norms):
        copies = tape.take(2 * FP32 * run.rows * spec.state)
        tape.give(both)
    tape.give(raw, low)
    return steps, copies or both

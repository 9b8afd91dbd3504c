"""Gated delta rules: Gated DeltaNet's mixer and that of Kimi Delta Attention."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.witness.moments import scan
from moe_plan.witness.moments.tape import FP32

if TYPE_CHECKING:
    from moe_plan.spec.attention import GatedDelta, KimiDelta
    from moe_plan.witness.moments.tape import Run, Tape


def moments(tape: Tape, spec: GatedDelta | KimiDelta, run: Run) -> int:
    """The whole mixer; returns the bytes of its output."""
    tape.stage("delta scan")
    if spec.kind == "kda":
        width, norm_width, low = spec.heads * spec.head_dim, spec.head_dim, spec.head_dim
        scanned = _kimi_scanned(tape, spec, run, width)
    else:
        width, norm_width, low = spec.value_heads * spec.value_dim, spec.value_dim, 0
        scanned = _scanned(tape, spec, run, width)
    tape.stage("delta output")
    scan.normed(tape, run, width, norm_width)
    tape.give(scan.widened(tape, run, norm_width))
    return scan.output(tape, run, scan.gated(tape, run, width, scanned, low))


def _scanned(tape: Tape, spec: GatedDelta, run: Run, width: int) -> int:
    """What the state gives each token, in float32; returns its bytes."""
    heads, keys = spec.value_heads, 2 * spec.key_heads * spec.key_dim
    both = scan.token_major(tape, run, tape.take(scan.across(run, 2 * heads)), 2 * heads, 2)
    decays = _decays(tape, run, heads, heads)
    units = scan.token_major(tape, run, scan.convolved(tape, run, keys, spec.conv), keys, 2)
    scan.normed(tape, run, keys, spec.key_dim)
    values = scan.token_major(tape, run, scan.convolved(tape, run, width, spec.conv), width)
    tape.give(both, decays, units)
    return values


def _kimi_scanned(tape: Tape, spec: KimiDelta, run: Run, width: int) -> int:
    """What the state gives each token, in float32; returns its bytes."""
    low = tape.take(scan.across(run, spec.head_dim))
    raw = scan.token_major(tape, run, tape.swap(low, scan.across(run, width)), width)
    # The rate of each head, once for each of its channels.
    repeated = tape.take(width * run.itemsize)
    decays = _decays(tape, run, width, width)
    tape.give(repeated, raw)
    strengths = tape.take(scan.across(run, spec.heads))
    strengths = scan.token_major(tape, run, strengths, spec.heads)
    units = 0
    for _ in "qk":
        units += scan.token_major(tape, run, scan.convolved(tape, run, width, spec.conv), width)
        scan.normed(tape, run, width, spec.head_dim)
    values = scan.token_major(tape, run, scan.convolved(tape, run, width, spec.conv), width)
    tape.give(decays, strengths, units)
    return values


def _decays(tape: Tape, run: Run, width: int, rates: int) -> int:
    """Decays of `width` channels of each token, made of as many time steps, whose bias is widened first."""
    tape.give(scan.widened(tape, run, width))
    decays = tape.take(FP32 * run.rows * width)
    tape.give(scan.rates(tape, run, rates))
    return decays

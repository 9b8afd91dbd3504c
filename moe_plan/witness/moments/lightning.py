"""Lightning attention: queries, keys and values of all tokens, and a fixed decay for each head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.witness.moments import scan
from moe_plan.witness.moments.tape import FP32

if TYPE_CHECKING:
    from moe_plan.spec.attention import LightningAttention
    from moe_plan.witness.moments.tape import Run, Tape


def moments(tape: Tape, spec: LightningAttention, run: Run) -> int:
    """The whole mixer; returns the bytes of its output."""
    width = spec.heads * spec.head_dim
    tape.stage("lightning scan")
    queries, keys, values = (
        scan.token_major(tape, run, tape.take(scan.across(run, width)), width) for _ in "qkv"
    )
    decays = tape.swap(tape.take(FP32 * spec.heads), FP32 * spec.heads * run.sequences)
    tape.give(queries, keys, decays)
    tape.stage("lightning output")
    scan.normed(tape, run, width, width)
    tape.give(scan.widened(tape, run, width))
    return scan.output(tape, run, scan.gated(tape, run, width, values))

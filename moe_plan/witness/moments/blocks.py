"""From a block of a spec to its moments."""

# ruff: noqa: PLC0415  a model loads the kinds that it has

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from moe_plan.witness.moments import dense, moe

if TYPE_CHECKING:
    from moe_plan.spec.attention import AnyAttention, AnyRecurrence
    from moe_plan.spec.ffn import AnyFfn
    from moe_plan.spec.model import Norm
    from moe_plan.witness.moments.tape import Run, Tape

Counts = tuple[int, ...]
"""Rows of each choice of a block that routes, zero-compute ones last; empty for one that does not."""


def mix(tape: Tape, block: AnyAttention, run: Run, norm: Norm, counts: Counts) -> int:
    """One attention block or recurrence; returns the bytes of its output."""
    if block.kind == "gqa":
        from moe_plan.witness.moments import gqa

        return gqa.moments(tape, block, run, norm)
    if block.kind == "mla":
        from moe_plan.witness.moments import mla

        return mla.moments(tape, block, run)
    if block.kind == "compressed":
        from moe_plan.witness.moments import compressed

        return compressed.moments(tape, block, run)
    if block.kind == "moa":
        from moe_plan.witness.moments import moa

        return moa.moments(tape, block, run, counts)
    return _recur(tape, block, run)


def _recur(tape: Tape, block: AnyRecurrence, run: Run) -> int:
    from moe_plan.witness.moments import delta, lightning, mamba1, mamba2, short_conv

    match block.kind:
        case "gated-delta" | "kda":
            return delta.moments(tape, block, run)
        case "lightning":
            return lightning.moments(tape, block, run)
        case "mamba1":
            return mamba1.moments(tape, block, run)
        case "mamba2":
            return mamba2.moments(tape, block, run)
        case "short-conv":
            return short_conv.moments(tape, block, run)
        case _:
            assert_never(block)


def feed(tape: Tape, block: AnyFfn, run: Run, counts: Counts) -> int:
    """One feed-forward block; returns the bytes of its output."""
    if block.kind == "dense":
        return dense.moments(tape, block, run, block.width)
    return moe.moments(tape, block, run, counts)

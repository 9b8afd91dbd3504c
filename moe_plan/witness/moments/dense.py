"""Feed-forward networks that every token uses: a layer's own, and the shared expert of a mixture."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moe_plan.spec.ffn import DenseFfn, MoeFfn
    from moe_plan.witness.moments.tape import Run, Tape


def moments(tape: Tape, spec: DenseFfn | MoeFfn, run: Run, width: int) -> int:
    """A network of `width`; its input is live already. Returns the bytes of its output."""
    tape.stage("dense network")
    up = tape.take(up_columns(spec, width) * run.rows * run.itemsize)
    tape.take(run.wide)
    activated(tape, spec, run.rows * width * run.itemsize)
    tape.give(up)
    return run.wide


def up_columns(spec: DenseFfn | MoeFfn, width: int) -> int:
    """Columns of the up product: gate and up beside each other where there is a gate."""
    return 2 * width if spec.gated else width


def activated(tape: Tape, spec: DenseFfn | MoeFfn, size: int) -> None:
    """The activation of `size` bytes, in place: gpt-oss's keeps the sigmoid of its gate beside it."""
    if spec.activation == "oai-swiglu":
        tape.flash(size)

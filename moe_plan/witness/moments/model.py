"""A whole forward: the encoder where there is one, the embedding, the layers, and the head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.witness.moments import stack
from moe_plan.witness.moments.tape import Tape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moe_plan.spec.model import ModelSpec
    from moe_plan.witness.moments.blocks import Counts
    from moe_plan.witness.moments.tape import Module, Run


def moments(spec: ModelSpec, run: Run, counts: Mapping[Module, Counts], *, logits: str = "all") -> Tape:
    """The tape of one forward of `run`, whose `source` is as long as what an encoder reads.

    `counts`: rows of each choice, for every block that routes. Logits of `all` new tokens, or of the `last`.
    """
    tape = Tape()
    source = 0
    encoders = {name: part for name, part in spec.parts.items() if part.role == "encoder"}
    if encoders and run.start == 0:
        read = run._replace(tokens=run.source, cached=False, source=0)
        source = tape.take(read.wide)
        for name, part in encoders.items():
            out = stack.moments(stack.Walk(tape, spec, part, name, read, counts))
            tape.forget()
            source = _instead(tape, source, out)
    tape.stage("embedding")
    x = tape.take(run.wide)
    _instead(tape, x, stack.moments(stack.Walk(tape, spec, spec, "decoder", run, counts)))
    tape.stage("head")
    scored = run.rows if logits == "all" else run.sequences
    tape.take(scored * spec.vocab * run.itemsize)
    return tape


def _instead(tape: Tape, given: int, out: int) -> int:
    """Free what a stack was given, unless that is what it returns: then `out` is 0."""
    if not out:
        return given
    tape.give(given)
    return out

"""Peak activation bytes of a prefill and of a decode step: predicted stage by stage, and as allocated.

Predicted from the spec's sizes and from how many rows each expert had; nothing is run for it. Beside the whole
forward there is the same with logits of the last token alone, in which the widest moment is a layer's, and a
line for each block, whose own widest moment the whole may hide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from moe_plan.plan.ledger import Line
from moe_plan.witness.moments.model import moments
from moe_plan.witness.moments.tape import Run
from moe_plan.witness.peaks import measured_peaks, routed_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from moe_plan.witness.moments.blocks import Counts
    from moe_plan.witness.moments.tape import Module, Tape
    from moe_plan.witness.peaks import Peaks
    from moe_plan.witness.prepare import Prepared

Logits = Literal["all", "last"]
WHOLE: dict[Logits, str] = {"all": "whole forward", "last": "with logits of the last token"}


def activation_lines(made: Prepared, seed: int) -> Iterator[Line]:
    """Of a prefill, then of a decode step: the whole forward, its layers, and each block alone."""
    counts = routed_rows(made.replica, made.shape, seed)
    measured: dict[Logits, tuple[Peaks, Peaks]] = {
        logits: measured_peaks(made.replica, made.shape, seed, logits) for logits in WHOLE
    }
    for step, phase in enumerate(("prefill", "decode step 1")):
        group = f"peak activation bytes of {phase}"
        for logits, name in WHOLE.items():
            tape = predicted(made, bool(step), counts[step], logits)
            peaks = measured[logits][step]
            yield Line(group, name, tape.peak, peaks.whole, "bytes", note=f"widest: {tape.where}")
        yield from _block_lines(group, tape.inside, peaks.inside)


def predicted(made: Prepared, decodes: bool, counts: Mapping[Module, Counts], logits: Logits) -> Tape:  # noqa: FBT001
    """The tape of the prefill, or of the decode step after it."""
    shape, spec = made.shape, made.shrunk.spec
    run = Run(
        sequences=shape.sequences,
        tokens=1 if decodes else shape.tokens,
        start=shape.tokens if decodes else 0,
        hidden=spec.hidden,
        itemsize=made.replica.embedding.element_size(),
        absorbed=decodes,
        source=shape.tokens,
    )
    return moments(spec, run, counts, logits=logits)


def _block_lines(
    group: str, predicted: Mapping[Module, int], measured: Mapping[Module, int]
) -> Iterator[Line]:
    """For each block of the spec its layer of the highest peak; layers that differ follow, a line each."""
    layers: dict[tuple[str, str, str], list[Module]] = {}
    for module in dict.fromkeys((*predicted, *measured)):
        layers.setdefault((module.part, module.slot, module.name), []).append(module)
    for (part, slot, name), modules in layers.items():
        label = f"{slot} {name}" if part == "decoder" else f"{part} {slot} {name}"
        pairs = {module: (predicted.get(module, 0), measured.get(module, 0)) for module in modules}
        note = f"widest of {len(modules)} layers" if len(modules) > 1 else ""
        yield Line(group, f"{label} alone", *max(pairs.values()), "bytes", note=note)
        wrong = {module: pair for module, pair in pairs.items() if pair[0] != pair[1]}
        if len(modules) > 1:
            yield from (
                Line(group, f"layer {m.layer} {label} alone", *pair, "bytes") for m, pair in wrong.items()
            )

"""Peak activation bytes of a prefill and of a decode step: predicted stage by stage, and as allocated.

Predicted from the spec's sizes and from how many rows each expert had; nothing is run for it. Beside the
whole forward stands the same with logits of the last token alone, in which the widest moment is a layer's,
and a line for each block, whose own widest moment the whole may hide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from moe_plan.plan.ledger import Line
from moe_plan.replica.ffn.products import is_native
from moe_plan.witness.moments.model import moments
from moe_plan.witness.moments.tape import Run
from moe_plan.witness.peaks import measured_peaks, routed_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from moe_plan.replica.model import Replica
    from moe_plan.witness.moments.tape import Module
    from moe_plan.witness.peaks import Peaks
    from moe_plan.witness.prepare import Prepared
    from moe_plan.witness.run import Shape

Logits = Literal["all", "last"]
WHOLE: dict[Logits, str] = {"all": "whole forward", "last": "whole forward, logits of the last token"}

CUDA_NOTE = "its blocks are multiples of 512 bytes, and products may hold a workspace"


def activation_lines(made: Prepared, seed: int) -> Iterator[Line]:
    """Of a prefill, then of the decode step after it: the whole forward, and each block alone."""
    return peak_lines(made.replica, made.shape, seed)


def peak_lines(replica: Replica, shape: Shape, seed: int) -> Iterator[Line]:
    """As `activation_lines`, of any replica on a device that computes."""
    counts = routed_rows(replica, shape, seed)
    measured: dict[Logits, tuple[Peaks, Peaks]] = {
        logits: measured_peaks(replica, shape, seed, logits) for logits in WHOLE
    }
    for step, phase in enumerate(("prefill", "decode step 1")):
        group = f"peak activation bytes of {phase}"
        run = run_of(replica, shape, step)
        for logits, name in WHOLE.items():
            tape = moments(replica.spec, run, counts[step], logits=logits)
            peaks = measured[logits][step]
            yield Line(group, name, tape.peak, peaks.whole, "bytes", note=f"widest: {tape.where}")
            if peaks.allocator is not None:
                title = f"{name}, CUDA's allocator"
                yield Line(group, title, tape.peak, peaks.allocator, "bytes", judged=False, note=CUDA_NOTE)
        yield from _block_lines(group, tape.inside, peaks.inside)


def run_of(replica: Replica, shape: Shape, step: int) -> Run:
    """The sizes of the prefill (`step` 0), or of the decode step after it."""
    weight = replica.embedding
    return Run(
        sequences=shape.sequences,
        tokens=1 if step else shape.tokens,
        start=shape.tokens if step else 0,
        hidden=replica.spec.hidden,
        itemsize=weight.element_size(),
        absorbed=step > 0,
        source=shape.tokens,
        native=weight.device.type != "cpu" or is_native(weight.dtype),
    )


def _block_lines(
    group: str, predicted: Mapping[Module, int], measured: Mapping[Module, int]
) -> Iterator[Line]:
    """For each block of the spec its layer of the highest peak; layers that differ follow, a line each."""
    layers: dict[tuple[str, str, str], list[Module]] = {}
    for module in dict.fromkeys((*predicted, *measured)):
        layers.setdefault((module.part, module.slot, module.name), []).append(module)
    for (part, slot, name), modules in layers.items():
        label = f"{slot} {name} alone" if part == "decoder" else f"{part} {slot} {name} alone"
        pairs = {module: (predicted.get(module, 0), measured.get(module, 0)) for module in modules}
        note = f"widest of {len(modules)} layers" if len(modules) > 1 else ""
        yield Line(group, label, *max(pairs.values()), "bytes", note=note)
        if len(modules) > 1:
            wrong = {module: pair for module, pair in pairs.items() if pair[0] != pair[1]}
            yield from (Line(group, f"layer {m.layer} {label}", *pair, "bytes") for m, pair in wrong.items())

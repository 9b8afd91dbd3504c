"""Peak activation bytes as CUDA's allocator counts them, beside what was followed storage by storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from moe_plan.plan.ledger import Line
from moe_plan.replica.call import Options
from moe_plan.witness.activations import run_of
from moe_plan.witness.moments.model import moments
from moe_plan.witness.peaks import prefill_and_decode, routed_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from moe_plan.witness.prepare import Prepared

NAME = "whole forward, by CUDA's allocator"
NOTE = "not judged: the allocator counts in blocks of 512 bytes, and what libraries take inside an operation"


def allocator_lines(made: Prepared, seed: int) -> Iterator[Line]:
    """Of a prefill, then of the decode step after it, with all logits; none but on a CUDA device."""
    if made.device.type != "cuda":
        return
    # This also warms the libraries: the workspaces that they keep are not the forward's.
    counts = routed_rows(made.replica, made.shape, seed)
    forwards = prefill_and_decode(made.replica, made.shape, seed, Options())
    for step, (phase, forward) in enumerate(zip(("prefill", "decode step 1"), forwards, strict=True)):
        tape = moments(made.replica.spec, run_of(made.replica, made.shape, step), counts[step])
        peak = _peak_bytes(forward, made.device)
        group = f"peak activation bytes of {phase}"
        yield Line(group, NAME, tape.peak, peak, "bytes", judged=False, note=NOTE)


def _peak_bytes(forward: Callable[[], object], device: torch.device) -> int:
    """The most that was allocated during `forward`, beyond what was before it."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    with torch.no_grad():
        forward()
    torch.cuda.synchronize(device)
    return int(torch.cuda.max_memory_allocated(device)) - before

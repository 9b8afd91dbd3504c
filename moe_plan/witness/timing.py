"""Time of a forward: a roofline calibrated on this device, against the clock.

The prediction runs nothing: the operations are recorded on the meta device, with the same routing, and each
is priced by what the device was measured to do.
"""

from __future__ import annotations

from functools import cache
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import torch

from moe_plan.plan.ledger import Line
from moe_plan.replica import build
from moe_plan.replica.call import Options
from moe_plan.replica.measure.calibrate import calibrate, memory_beyond_caches, probe, rescaled, typical
from moe_plan.witness.forwards import Replayed, Taken, recorded, timed
from moe_plan.witness.pricing import seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.replica.measure.calibrate import Probe, Rates
    from moe_plan.witness.forwards import Work
    from moe_plan.witness.prepare import Prepared

BAND = 0.30
"""What is said to be near. On a machine that others use a time is noted, not judged."""
ROUNDS = 3
RUNS = 2


class Calibrated(NamedTuple):
    """Rates, and what a probe said when they were measured."""

    rates: Rates
    probe: Probe


@cache
def calibrated(device: torch.device, dtype: str, threads: int) -> Calibrated:  # noqa: ARG001  rates are of so many
    """The device's rates: measured once, for all models that a process checks."""
    rates = calibrate(device, build.DTYPES[dtype])
    flat = memory_beyond_caches(device, build.DTYPES[dtype])
    return Calibrated(rates, typical([probe(flat) for _ in range(ROUNDS)]))


def predicted(work: Work, rates: Rates) -> Taken:
    """Seconds of the prefill and of a decode step."""
    return Taken(sum(seconds(work.prefill, rates).values()), sum(seconds(work.decode, rates).values()))


def time_lines(made: Prepared, dtype: str, seed: int) -> Iterator[Line]:
    """Prefill and decode step; probes of the device and runs take turns."""
    options = Options(routing=Replayed(seed), logits="last")
    work = recorded(made.shrunk.spec, dtype, made.shape, options)
    before = calibrated(made.device, dtype, torch.get_num_threads())
    flat = memory_beyond_caches(made.device, build.DTYPES[dtype])
    timed(made.replica, made.shape, options, seed)
    probes, runs = [], []
    for _ in range(ROUNDS):
        probes.append(probe(flat))
        runs += [timed(made.replica, made.shape, options, seed) for _ in range(RUNS)]
    expected = predicted(work, rescaled(before.rates, before.probe, typical(probes)))
    note = "calibrated roofline; noted, not judged: other programs share the machine"
    for name, guess, measured in (
        ("prefill", expected.prefill, median(run.prefill for run in runs)),
        ("decode step", expected.decode, median(run.decode for run in runs)),
    ):
        yield Line("time", name, guess, measured, "s", BAND, judged=False, note=note)

"""Time of a forward: a roofline calibrated on this device, against the clock.

The prediction runs nothing: the operations are recorded on the meta device, with the same routing, and each
is priced by what the device was measured to do.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from moe_plan.plan.ledger import Line
from moe_plan.replica.call import Options
from moe_plan.replica.measure.calibrate import typical
from moe_plan.witness.forwards import Replayed, Taken, recorded, timed
from moe_plan.witness.glue import calibrated
from moe_plan.witness.pricing import seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.replica.measure.calibrate import Rates
    from moe_plan.witness.forwards import Work
    from moe_plan.witness.prepare import Prepared

BAND = 0.30
"""What is said to be near. On a machine that others use a time is noted, not judged."""
ROUNDS = 3


def predicted(work: Work, rates: Rates) -> Taken:
    """Seconds of the prefill and of a decode step; each forward passes over all the weights it uses."""
    return Taken(
        sum(seconds(work.prefill, rates).values()),
        sum(seconds(work.decode, rates).values()),
    )


def time_lines(made: Prepared, dtype: str, seed: int) -> Iterator[Line]:
    """Prefill and decode step, calibration and runs taking turns."""
    options = Options(routing=Replayed(seed), logits="last")
    work = recorded(made.shrunk.spec, dtype, made.shape, options)
    timed(made.replica, made.shape, options, seed)
    rates, runs = [], []
    for _ in range(ROUNDS):
        rates.append(calibrated(made.device, dtype))
        runs += [timed(made.replica, made.shape, options, seed) for _ in range(ROUNDS)]
    expected = predicted(work, typical(rates))
    note = "calibrated roofline; noted, not judged: other programs share the machine"
    for name, guess, measured in (
        ("prefill", expected.prefill, median(run.prefill for run in runs)),
        ("decode step", expected.decode, median(run.decode for run in runs)),
    ):
        yield Line("time", name, guess, measured, "s", BAND, judged=False, note=note)

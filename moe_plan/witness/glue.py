"""What Python and torch spend between operations, found on a model so small that it does nothing else.

A loop over one operation keeps every instruction in the nearest cache; a model walks through far more code,
and each of its operations costs several times as much.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import torch

from moe_plan.replica import build
from moe_plan.replica.call import Options
from moe_plan.replica.measure.calibrate import calibrate
from moe_plan.spec.attention import Attention
from moe_plan.spec.ffn import DenseFfn, MoeFfn
from moe_plan.spec.model import ModelSpec, Published, Run
from moe_plan.witness.forwards import Replayed, recorded, timed
from moe_plan.witness.pricing import seconds
from moe_plan.witness.run import Shape

if TYPE_CHECKING:
    from moe_plan.replica.measure.calibrate import Rates

SMALLEST = ModelSpec(
    name="smallest",
    source="made up",
    published=Published(source="not published"),
    hidden=16,
    vocab=32,
    attention={"gqa": Attention(kind="gqa", heads=2, kv_heads=1, head_dim=8)},
    ffn={
        "dense": DenseFfn(kind="dense", width=16),
        "experts": MoeFfn(kind="moe", experts=8, top_k=2, width=8, shared_width=8),
    },
    layers=(Run(repeat=2, attention="gqa", ffn="dense"), Run(repeat=4, attention="gqa", ffn="experts")),
)
SHAPE = Shape(1, 8, 1)
RUNS = 5


def calibrated(device: torch.device, dtype: str) -> Rates:
    """The device's rates, with the time between operations as a model feels it."""
    rates = calibrate(device, build.DTYPES[dtype])
    options = Options(routing=Replayed(0), logits="last")
    work = recorded(SMALLEST, dtype, SHAPE, options)
    replica = build.materialise(build.on_meta(SMALLEST, dtype), device)
    with torch.no_grad():
        runs = [timed(replica, SHAPE, options, 0) for _ in range(RUNS)]
    factors = []
    for operations, taken in (
        (work.prefill, median(run.prefill for run in runs)),
        (work.decode, median(run.decode for run in runs)),
    ):
        priced = seconds(operations, rates)
        fixed = priced.pop("overhead")
        factors.append((taken - sum(priced.values())) / fixed)
    return rates._replace(walk=max(0.5, sum(factors) / len(factors)))

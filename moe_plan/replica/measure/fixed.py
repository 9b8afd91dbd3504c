"""The fixed seconds of every operation: taken in turn, as a model takes them, on tensors of a few numbers.

In a loop over one operation every instruction lies in the nearest cache, and it seems two to three times as
quick as in a model. And a model streams its weights past: what an operation runs through, and the
interpreter's code around it, must then be fetched from afar. So each costs the more, the more bytes were
touched since it last ran.
"""

from __future__ import annotations

import time
from itertools import accumulate
from random import Random
from statistics import fmean, median
from typing import TYPE_CHECKING, NamedTuple

from moe_plan.replica.measure.tiny import PARTS, tiny_operations

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor

Table = tuple[tuple[float, float], ...]
"""(size, value) points, to be interpolated."""
Operations = dict[str, "Callable[[], object]"]

STREAMED = (0, 32 << 10, 256 << 10, 1 << 20, 4 << 20)
"""Bytes that are read between one operation and the next."""
OWN_BYTES = 16 << 10
"""What an operation itself runs through, in round numbers: code and tables of torch and of the interpreter."""
ROUNDS = 30
ROUNDS_S = 0.12
"""Seconds after which a size has been streamed often enough."""
HOT_CALLS = 20


class Fixed(NamedTuple):
    """Fixed seconds of operations."""

    seconds: dict[str, float]
    """By name, all of them taken in turn."""
    part: float
    """For each further tensor that one returns."""
    chill: Table
    """(bytes touched since it last ran, times as long as in turn)."""


def fixed_seconds(device: torch.device, dtype: torch.dtype, memory: Tensor) -> Fixed:
    """Measure all; `memory`, flat, is what is read in between, larger than the last cache."""
    operations = tiny_operations(device, dtype)
    seconds = in_turn(operations, memory, 0)
    chill = [(float(OWN_BYTES), _hot(operations, seconds))]
    for streamed in STREAMED:
        taken = in_turn(operations, memory, streamed) if streamed else seconds
        between = (OWN_BYTES + streamed) * len(operations)
        chill.append((float(between), fmean(taken[name] / seconds[name] for name in seconds)))
    # What lies farther off is never fetched faster: where it seems so, it is chance.
    factors = accumulate((factor for _, factor in chill), max)
    part = max(0.0, (seconds["split"] - seconds["split 2"]) / (PARTS - 2))
    return Fixed(
        seconds, part, tuple((size, factor) for (size, _), factor in zip(chill, factors, strict=True))
    )


def in_turn(operations: Operations, memory: Tensor, streamed: int) -> dict[str, float]:
    """Median seconds of each, with `streamed` bytes of memory read before it.

    By the clock on the wall: the processor's own takes longer to read than an operation takes to run.
    """
    taken: dict[str, list[float]] = {name: [] for name in operations}
    count = streamed // memory.element_size()
    parts = memory.split(count) if count else ()
    begin, part, order = time.perf_counter(), 0, Random(0)  # noqa: S311  an order, no secret
    for round_ in range(ROUNDS):
        if round_ > 1 and time.perf_counter() - begin > ROUNDS_S:
            break
        for name in order.sample(list(operations), len(operations)):
            if parts:
                parts[part].sum()
                part = (part + 1) % len(parts)
            start = time.perf_counter()
            operations[name]()
            taken[name].append(time.perf_counter() - start)
    return {name: median(runs) for name, runs in taken.items()}


def _hot(operations: Operations, seconds: dict[str, float]) -> float:
    """How much of its time an operation takes that has only just run."""
    shares = []
    for name, work in operations.items():
        work()
        start = time.perf_counter()
        for _ in range(HOT_CALLS):
            work()
        shares.append((time.perf_counter() - start) / HOT_CALLS / seconds[name])
    return median(shares)

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
OWN_BYTES = 64 << 10
"""What an operation itself counts for, in round numbers: code and tables of torch and of the interpreter.
One that is repeated with 1 MiB read in between, and one of a dozen in turn with 64 KiB, take equally long."""
GROUPS = (3, 12)
"""Operations that are taken in turn by themselves, as in the innermost loop of a model."""
ROUNDS, FEWEST = 30, 2
ROUNDS_S = 0.15
"""Seconds after which a size has been streamed often enough."""
REPEATS = 12


class Fixed(NamedTuple):
    """Fixed seconds of operations."""

    seconds: dict[str, float]
    """By name, all of them taken in turn."""
    part: float
    """For each further tensor that one returns."""
    chill: Table
    """(bytes touched since it last ran, times as long as in turn)."""
    cycles: tuple[float, ...]
    """Seconds between one run and the next at each point of `chill`."""


def fixed_seconds(device: torch.device, dtype: torch.dtype, memory: Tensor) -> Fixed:
    """Measure all; `memory`, flat, is what is read in between, larger than the last cache."""
    operations = tiny_operations(device, dtype)
    seconds, cycle = in_turn(operations, memory, 0)
    chill = [(float(OWN_BYTES * size), _repeated(operations, seconds, size)) for size in (1, *GROUPS)]
    cycles = [
        factor * size * fmean(seconds.values()) for size, (_, factor) in zip((1, *GROUPS), chill, strict=True)
    ]
    for streamed in STREAMED:
        taken, cycle = in_turn(operations, memory, streamed) if streamed else (seconds, cycle)
        cycles.append(cycle)
        between = (OWN_BYTES + streamed) * len(operations)
        chill.append((float(between), fmean(taken[name] / seconds[name] for name in seconds)))
    # What lies farther off is never fetched faster: where it seems so, it is chance.
    factors = accumulate((factor for _, factor in chill), max)
    part = max(0.0, (seconds["split into parts"] - seconds["split_with_sizes"]) / (PARTS - 2))
    return Fixed(
        seconds,
        part,
        tuple((size, factor) for (size, _), factor in zip(chill, factors, strict=True)),
        tuple(cycles),
    )


def in_turn(operations: Operations, memory: Tensor, streamed: int) -> tuple[dict[str, float], float]:
    """Median seconds of each, with `streamed` bytes of memory read before it, and seconds of a whole round.

    By the clock on the wall: the processor's own takes longer to read than an operation takes to run.
    """
    taken: dict[str, list[float]] = {name: [] for name in operations}
    count = streamed // memory.element_size()
    parts = memory.split_with_sizes([count] * (len(memory) // count)) if count else []
    rounds, begin, part, order = 0, time.perf_counter(), 0, Random(0)  # noqa: S311  an order, no secret
    while rounds < FEWEST or (rounds < ROUNDS and time.perf_counter() - begin < ROUNDS_S):
        rounds += 1
        for name in order.sample(list(operations), len(operations)):
            if parts:
                parts[part].sum()
                part = (part + 1) % len(parts)
            start = time.perf_counter()
            operations[name]()
            taken[name].append(time.perf_counter() - start)
    cycle = (time.perf_counter() - begin) / rounds
    return {name: median(runs) for name, runs in taken.items()}, cycle


def _repeated(operations: Operations, seconds: dict[str, float], size: int) -> float:
    """How much of its time an operation takes among only `size` of them."""
    names = list(operations)
    shares = []
    for first in range(0, len(names) - size + 1, size):
        group = [operations[name] for name in names[first : first + size]]
        alone = sum(seconds[name] for name in names[first : first + size])
        for work in group:
            work()
        start = time.perf_counter()
        for _ in range(REPEATS):
            for work in group:
                work()
        shares.append((time.perf_counter() - start) / REPEATS / alone)
    return median(shares)

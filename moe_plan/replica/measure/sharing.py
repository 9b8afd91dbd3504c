"""How fast others fill the cache that cores share: what a program leaves idle there is lost to them.

Read again at once, a few MiB come from the cache; read again after a pause, from as far as if the program
itself had touched so much more in between as others brought in.
"""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

KEPT_BYTES = 8 << 20
BEYOND = (12 << 20, 16 << 20, 20 << 20, 28 << 20, 40 << 20)
"""Bytes cycled through, to tell how far off what was kept has come to lie."""
PAUSES_S = (0.001, 0.002, 0.004)
ROWS, RUN = 2048, 384
SETTLING, PASSES = 2, 3


def foreign_bytes_per_s(flat: Tensor) -> float:
    """Bytes a second that others bring in; 0 where nobody does. `flat` is larger than the cache."""
    if flat.device.type != "cpu":
        return 0.0
    steps = [(float(size), _per_byte(flat, size, 0.0)) for size in (KEPT_BYTES, *BEYOND)]
    found = []
    for pause in PAUSES_S:
        taken = _per_byte(flat, KEPT_BYTES, pause)
        found.append((equal_reach(steps, taken) - KEPT_BYTES) / (pause + taken * KEPT_BYTES))
    return median(found)


def equal_reach(steps: list[tuple[float, float]], taken: float) -> float:
    """The reach at which a byte takes that long, linear between the `steps`, which rise."""
    (before, low), *others = steps
    if taken <= low:
        return before
    for reach, seconds in others:
        if taken <= seconds:
            return before + (reach - before) * (taken - low) / (seconds - low)
        before, low = reach, max(low, seconds)
    return before


def _per_byte(flat: Tensor, size: int, pause: float) -> float:
    """Median seconds for each byte of one pass over `size` bytes, `pause` seconds after the one before."""
    count = ROWS * RUN
    parts = flat[: size // flat.element_size() // count * count].view(-1, ROWS, RUN)
    left, taken = flat.new_ones(1, RUN), []
    for round_ in range(SETTLING + PASSES):
        resume = time.perf_counter() + (pause if round_ >= SETTLING else 0.0)
        while time.perf_counter() < resume:
            pass
        start = time.perf_counter()
        for part in parts:
            torch.mm(left, part.t())
        taken.append(time.perf_counter() - start)
    return median(taken[SETTLING:]) / (parts.numel() * flat.element_size())

"""Seconds that a piece of work takes on a device."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable


def now(device: torch.device) -> float:
    """A clock for `device`, in seconds.

    With one thread on the CPU it is the time that the processor worked for this process: what other
    programs take is not in it. Everywhere else it is the time on the wall, after the device is done.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    elif torch.get_num_threads() == 1:
        return time.process_time()
    return time.perf_counter()


def seconds_of(work: Callable[[], object], device: torch.device, at_least: float, runs: int = 3) -> float:
    """Median seconds of one `work()`, of at least `runs` runs that together take `at_least` seconds.

    The first run, which finds caches and allocators cold, is not counted.
    """
    work()
    taken: list[float] = []
    while len(taken) < runs or sum(taken) < at_least:
        start = now(device)
        work()
        taken.append(now(device) - start)
    return median(taken)

"""One matrix product, timed on right-hand sides or results that are met again after so many bytes."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import torch

from moe_plan.replica.measure.clock import now

if TYPE_CHECKING:
    from torch import Tensor

FEWEST, SHORTEST_S = 5, 0.0015
"""Products, and seconds, that each measurement takes at least."""
SETTLING = 4


class Memory:
    """A block of memory, from which pieces are cut one after the other."""

    def __init__(self, flat: Tensor) -> None:
        self.flat = flat
        self._position = 0

    def piece(self, count: int, reach_bytes: int) -> Tensor:
        """The next `count` elements of the first `reach_bytes`: met again after all of those were."""
        within = min(max(reach_bytes // self.flat.element_size(), count), self.flat.numel())
        start = self._position if self._position + count <= within else 0
        self._position = start + count
        return self.flat[start : start + count]

    def settle(self, reach_bytes: int) -> None:
        """Let the first `reach_bytes` come to lie where they will stay; a cache takes a few rounds."""
        within = self.flat[: reach_bytes // self.flat.element_size()]
        for _ in range(SETTLING):
            within.sum()


class Case(NamedTuple):
    """A product to be measured."""

    rows: int
    inner: int
    columns: int
    transposed: bool = False
    reach_bytes: int = 0
    """That the right-hand sides together take; 0 for one that is multiplied again and again."""
    out_reach_bytes: int = 0
    """The same of the results."""


def seconds(memory: Memory, case: Case) -> float:
    """Median of one product."""
    size = case.inner * case.columns
    left = memory.flat.new_ones((case.rows, case.inner))
    out = left.new_empty((case.rows, case.columns))
    right = left.new_ones((case.inner, case.columns))
    taken: list[float] = []
    while len(taken) < FEWEST or sum(taken) < SHORTEST_S:
        if case.out_reach_bytes:
            out = memory.piece(out.numel(), case.out_reach_bytes).view(out.shape)
        else:
            piece = memory.piece(size, case.reach_bytes)
            right = piece.view(case.columns, -1).t() if case.transposed else piece.view(case.inner, -1)
        start = now(left.device)
        torch.mm(left, right, out=out)
        taken.append(now(left.device) - start)
    return median(taken)

"""Seconds of what is not a product, for each byte or element, by size or by the width of a row."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from moe_plan.replica.measure.clock import seconds_of
from moe_plan.replica.measure.one_product import Memory
from moe_plan.replica.measure.products import REACHES

if TYPE_CHECKING:
    from moe_plan.replica.measure.fixed import Table

SIZES = (1 << 8, 1 << 11, 1 << 14)
"""Elements that are sorted."""
MIDDLE = 1 << 17
"""Elements where only the width of a row is varied."""
WIDTHS = (8, 64, 512, 4096)
PICKED = (16, 256, 2048)
TINY = 64
SHORTEST_S = 0.002
PIECE = 1 << 16
"""Elements."""
BATCH = 8
TAPS = 4
ACTIVATIONS: dict[str, Callable[[Tensor], object]] = {
    "silu": functional.silu,
    "exp": torch.exp,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": functional.gelu,
    "softplus": functional.softplus,
    "log": torch.log,
    "cos": torch.cos,
}


Made = Callable[[Tensor], Callable[[], object]]


class Sweeps(NamedTuple):
    """Rates of memory and of functions, beyond the fixed cost of an operation."""

    elementwise: float
    """Seconds for each byte moved in the nearest caches."""
    far: Table
    """What a byte costs more, where it was touched long ago, by the bytes touched since."""
    scattered: float
    """Seconds for each element that is no neighbour of the one before."""
    mask: float
    """Seconds for each element that is chosen by a mask."""
    transcendental: dict[str, float]
    """Seconds for each element, by function."""
    by_width: dict[str, Table]
    """Seconds for each element of a softmax, a reduction, of rows picked or added by index, by width."""
    sort: Table
    """Seconds for each element, by elements."""
    convolution: float
    """Seconds for each element and tap."""
    batch: float
    """Seconds of each further product of a batch."""


def sweeps(device: torch.device, dtype: torch.dtype, flat: Tensor) -> Sweeps:
    """Measure all; `flat` is memory beyond the last cache."""
    bench = Bench(device, dtype)
    return Sweeps(
        elementwise=bench.rate(lambda x: x.mul_(1.0)) / (2 * dtype.itemsize),
        far=bench.far(flat),
        scattered=bench.scattered(),
        mask=bench.per_element(_masked, MIDDLE // TINY, TINY),
        transcendental={name: bench.rate(work) for name, work in ACTIVATIONS.items()} | bench.masked_exp(),
        by_width={
            "softmax": bench.by_width(WIDTHS, lambda x: partial(torch.softmax, x, -1)),
            "reduction": bench.by_width(WIDTHS, lambda x: partial(torch.mean, x, -1, keepdim=True)),
            "gather": bench.by_width(PICKED, _picked),
            "scatter": bench.by_width(PICKED, _added),
        },
        sort=bench.by_elements(_sorted),
        convolution=bench.convolution(),
        batch=bench.batch(),
    )


class Bench:
    """Measurements on one device in one type, less what the same work takes on next to nothing."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.new = partial(torch.ones, device=device, dtype=dtype)
        self.itemsize = dtype.itemsize
        self.seconds = partial(seconds_of, device=device, at_least=SHORTEST_S)

    def per_element(self, made: Made, rows: int, width: int) -> float:
        """Of what is `made` of a tensor, beyond what it takes for one row."""
        whole = self.new(rows, width)
        taken = self.seconds(made(whole)) - self.seconds(made(self.new(1, width)))
        return max(taken, 0.0) / ((rows - 1) * width)

    def by_elements(self, made: Made) -> Table:
        """Seconds for each element, by elements."""
        return tuple((float(size), self.per_element(made, size // TINY, TINY)) for size in SIZES)

    def far(self, flat: Tensor) -> Table:
        """Of pieces that are met again after so many bytes, above those that were only just met."""
        memory = Memory(flat)
        near, *others = (self._met_again(memory, reach) for reach in (0, *REACHES[1:]))
        points = zip(REACHES[1:], others, strict=True)
        return ((float(REACHES[0]), 0.0), *((float(reach), max(each - near, 0.0)) for reach, each in points))

    def _met_again(self, memory: Memory, reach: int) -> float:
        def multiply() -> None:
            memory.piece(PIECE, reach).mul_(1.0)

        return self.seconds(multiply) / (2 * PIECE * self.itemsize)

    def by_width(self, widths: tuple[int, ...], made: Made) -> Table:
        """Seconds for each element, by the width of a row."""
        return tuple((float(width), self.per_element(made, MIDDLE // width, width)) for width in widths)

    def rate(self, work: Callable[[Tensor], object]) -> float:
        """Seconds for each element."""
        return self.per_element(lambda x: partial(work, x), MIDDLE // TINY, TINY)

    def masked_exp(self) -> dict[str, float]:
        """In place, where half of the scores are masked: minus infinity takes much longer than a number."""

        def made(x: Tensor) -> Callable[[], object]:
            half = x.masked_fill(torch.arange(x.shape[1], device=x.device) % 2 == 0, -torch.inf)
            return lambda: torch.exp(half, out=x)

        return {"exp_": self.per_element(made, MIDDLE // TINY, TINY)}

    def scattered(self) -> float:
        """Of every other element, above neighbours."""
        x = self.new(2 * MIDDLE)
        left, right, halves = x[::2], x[1::2], x.view(2, -1)
        taken = self.seconds(lambda: left.mul_(right)) - self.seconds(lambda: halves[0].mul_(halves[1]))
        return max(taken, 0.0) / MIDDLE

    def convolution(self) -> float:
        """Of a convolution of each channel by itself."""
        signal, taps = self.new(1, TINY, MIDDLE // TINY), self.new(TINY, 1, TAPS)
        short = self.new(1, TINY, TAPS)
        long, least = (
            self.seconds(partial(functional.conv1d, x, taps, groups=TINY)) for x in (signal, short)
        )
        return max(long - least, 0.0) / (MIDDLE * TAPS)

    def batch(self) -> float:
        """Of one more product in a batch."""
        one, many = (
            self.seconds(partial(torch.bmm, self.new(count, 1, 16), self.new(count, 16, 16)))
            for count in (1, 65)
        )
        return max(many - one, 0.0) / 64


def _masked(x: Tensor) -> Callable[[], object]:
    mask = torch.arange(len(x), device=x.device)[:, None] > torch.arange(x.shape[1], device=x.device)
    return lambda: x.masked_fill_(mask, 1.0)


def _picked(x: Tensor) -> Callable[[], object]:
    rows = torch.arange(len(x), device=x.device).flip(0)
    return lambda: x.index_select(0, rows)


def _added(x: Tensor) -> Callable[[], object]:
    rows, y = torch.arange(len(x), device=x.device).flip(0), x.clone()
    return lambda: x.index_add_(0, rows, y)


def _sorted(x: Tensor) -> Callable[[], object]:
    keys = torch.arange(x.numel(), device=x.device) * 7919 % 64
    return partial(torch.argsort, keys, stable=True)

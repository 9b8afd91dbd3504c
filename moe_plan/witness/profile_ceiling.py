"""What this device can do at most, measured between the steps of a profile; and caches emptied between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from moe_plan.plan.profiling import Ceiling
from moe_plan.replica.ffn.products import is_native
from moe_plan.replica.measure.clock import now

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

READ_BYTES = 128 << 20
"""More than the last cache of one processor holds, so that reading it once leaves nothing else there."""
SIDE = 2048
"""Of the square matrices of the product that stands for the peak."""


def product_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """The type in which a layer of `dtype` multiplies here: float32 where a CPU is slow in its own."""
    return torch.float32 if device.type == "cpu" and not is_native(dtype) else dtype


def buffer_bytes(dtype: torch.dtype) -> int:
    """What the measurements hold."""
    return READ_BYTES + 3 * SIDE * SIDE * max(dtype.itemsize, torch.float32.itemsize)


class Machine:
    """The device and the buffers with which it is measured."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self._read = torch.ones(READ_BYTES // 4, device=device)
        kind = product_dtype(dtype, device)
        generator = torch.Generator().manual_seed(0)
        square = torch.randn((SIDE, SIDE), generator=generator)
        self._square = square.to(device=device, dtype=kind)
        self._out = torch.empty_like(self._square)

    def forget(self) -> None:
        """Read past everything that caches hold, as the other layers of a model would."""
        self._read.sum()

    def ceiling(self) -> Ceiling:
        """The rate of a large product and of reading memory once, now."""
        flops = 2 * SIDE**3 / self._seconds(self._product)
        bytes_per_s = READ_BYTES / min(self._seconds(self._read.sum), self._seconds(self._read.amax))
        return Ceiling(flops, bytes_per_s)

    def _product(self) -> Tensor:
        return torch.mm(self._square, self._square, out=self._out)

    def _seconds(self, work: Callable[[], object]) -> float:
        start = now(self.device)
        work()
        return now(self.device) - start

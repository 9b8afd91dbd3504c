"""What this device can do at most, measured between the batches of a profile; caches emptied between runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from moe_plan.plan.profiling import Ceiling
from moe_plan.replica.ffn.experts import ExpertWeights, pack, packable
from moe_plan.replica.ffn.products import is_native
from moe_plan.replica.measure.clock import now
from moe_plan.witness.profile_memory import READ_BYTES, SIDE

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def product_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """The type in which a layer of `dtype` multiplies here: float32 where a CPU is slow in its own."""
    return torch.float32 if device.type == "cpu" and not is_native(dtype) else dtype


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
        self._products = [self._product]
        weights = ExpertWeights(self._square[None], self._square[None, :, :1])
        if packable(weights):
            self._packed = pack(weights).up[0]
            self._products.append(self._packed_product)

    def forget(self) -> None:
        """Read past everything that caches hold, as the other layers of a model would."""
        self._read.sum()

    def ceiling(self) -> Ceiling:
        """The rate of a large product and of reading memory once, now."""
        flops = 2 * SIDE**3 / min(map(self._seconds, self._products))
        bytes_per_s = READ_BYTES / min(self._seconds(self._read.sum), self._seconds(self._read.amax))
        return Ceiling(flops, bytes_per_s)

    def _product(self) -> Tensor:
        return torch.mm(self._square, self._square, out=self._out)

    def _packed_product(self) -> Tensor:
        # The product that the layers use; it has no public name.
        linear = torch.ops.mkldnn._linear_pointwise.default  # noqa: SLF001
        product: Tensor = linear(self._square, self._packed, None, "none", [], "")
        return product

    def _seconds(self, work: Callable[[], object]) -> float:
        start = now(self.device)
        work()
        return now(self.device) - start

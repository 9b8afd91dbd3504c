"""An expert's products by oneDNN over weights in its own layout, which a product of few rows streams once.

Legend: E experts, n rows of a group of experts, D width of the layer, F width of an expert, U columns of
the up product (2F where gated, else F).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from moe_plan.replica.ffn.products import is_native

if TYPE_CHECKING:
    from moe_plan.replica.ffn.products import Act, ExpertWeights, Group

AVX512_ROWS = 4
"""Rows below which oneDNN's AVX-512 product streams packed weights more slowly than for this many: on an AMD
EPYC 9004 16, 13 and 19 GB/s for 1, 2 and 3 rows, and 22 for 4 to 6. Its AVX2 product has no such step."""


class PackedExperts(NamedTuple):
    """The weights of `ExpertWeights` in oneDNN's blocked layout, one opaque tensor [out, in] an expert."""

    up: tuple[Tensor, ...]
    down: tuple[Tensor, ...]
    up_biases: tuple[Tensor | None, ...]
    down_biases: tuple[Tensor | None, ...]
    least_rows: int
    """Rows that a product is given at least; what comes of more than the expert's own is dropped."""

    @property
    def experts(self) -> int:
        """E."""
        return len(self.up)


# oneDNN's linear product on packed weights has no public name; it is the one that torch's own compiler calls.
def packable(weights: ExpertWeights) -> bool:
    """Whether oneDNN takes weights of this type and device here."""
    up_EDF = weights.up_EDF
    if up_EDF.device.type != "cpu" or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    return up_EDF.dtype != torch.float64 and is_native(up_EDF.dtype)


def pack(weights: ExpertWeights) -> PackedExperts:
    """A copy of the weights in oneDNN's layout; drop the originals to hold them once.

    It is as large as they are where sizes are multiples of 64, and else padded to its blocks.
    """
    reorder = torch.ops.mkldnn._reorder_linear_weight.default  # noqa: SLF001
    none = (None,) * weights.experts
    return PackedExperts(
        up=tuple(reorder(up_DU.t().contiguous()) for up_DU in weights.up_EDF),
        down=tuple(reorder(down_FD.t().contiguous()) for down_FD in weights.down_EFD),
        up_biases=none if weights.up_bias_EF is None else weights.up_bias_EF.unbind(),
        down_biases=none if weights.down_bias_ED is None else weights.down_bias_ED.unbind(),
        least_rows=AVX512_ROWS if "AVX512" in torch.backends.cpu.get_cpu_capability() else 1,
    )


def packed(x_nD: Tensor, y_nD: Tensor, group: Group, weights: PackedExperts, act: Act) -> None:
    """Write a group's outputs to y, which may be x; an expert of too few rows is given idle ones beside them.

    Allocates for one expert after the other [r, U], [r, F] where gated, and [r, D], where r is its rows, or
    `least_rows` where they are fewer; and the idle rows once. A count of FLOPs counts idle rows as well.
    """
    linear = torch.ops.mkldnn._linear_pointwise.default  # noqa: SLF001
    ups, downs, up_biases, down_biases, least = weights
    idle = None
    sizes = [count for _, count in group]
    for (expert, count), own, out in zip(
        group, x_nD.split_with_sizes(sizes), y_nD.split_with_sizes(sizes), strict=True
    ):
        rows = own
        if count < least:
            # What the idle rows hold comes to nothing, but must be no slower to multiply than numbers are.
            rows = idle = x_nD.new_zeros((least, x_nD.shape[1])) if idle is None else idle
            rows[:count].copy_(own)
        up = linear(rows, ups[expert], up_biases[expert], "none", [], "")
        # oneDNN would copy a gated activation's view itself, unseen.
        down = linear(act(up).contiguous(), downs[expert], down_biases[expert], "none", [], "")
        out.copy_(down if count >= least else down[:count])

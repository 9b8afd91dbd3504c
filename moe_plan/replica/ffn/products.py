"""An expert's products over its rows: plain, in float32 where their type is slow, or packed by oneDNN.

Legend: E experts, n rows of a group of experts, D width of the layer, F width of an expert, U columns of
the up product (2F where gated, else F).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

Act: TypeAlias = "Callable[[Tensor], Tensor]"
Group: TypeAlias = "list[tuple[int, int]]"
"""Experts, each with its number of rows: never none."""

AVX512_ROWS = 4
"""Rows below which oneDNN's AVX-512 product streams packed weights more slowly than for this many: 1 to 3
rows took up to 1.6 times as long as 4 on an AMD EPYC 9004. Its AVX2 product has no such step."""


class ExpertWeights(NamedTuple):
    """Weights of E experts, [E, in, out]; the strides may be those of a transposed [E, out, in]."""

    up_EDF: Tensor
    """Gated: [E, D, 2F], gate columns first, then up; plain: [E, D, F]."""
    down_EFD: Tensor
    up_bias_EF: Tensor | None = None
    down_bias_ED: Tensor | None = None

    @property
    def experts(self) -> int:
        """E."""
        return len(self.up_EDF)


class PackedExperts(NamedTuple):
    """The same weights in oneDNN's blocked layout, one opaque tensor [out, in] an expert."""

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
    return up_EDF.dtype == torch.float32 or is_native(up_EDF.dtype)


def pack(weights: ExpertWeights) -> PackedExperts:
    """A copy of the weights in oneDNN's layout, as large as they are; drop the originals to hold them once.

    A product of few rows then streams each weight once, without the copy that a plain one makes.
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


def is_native(dtype: torch.dtype) -> bool:
    """Whether the CPU multiplies this type faster than float32 converted from it."""
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001
    if dtype == torch.float16:
        return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())  # noqa: SLF001
    return True


def plain(x_nD: Tensor, y_nD: Tensor, group: Group, weights: ExpertWeights, act: Act) -> None:
    """Write a group's outputs to y, which may be x: one product an expert, one activation for all."""
    sizes = [count for _, count in group]
    up_nU = x_nD.new_empty((len(x_nD), weights.up_EDF.shape[2]))
    for (expert, _), rows, out in zip(
        group, x_nD.split_with_sizes(sizes), up_nU.split_with_sizes(sizes), strict=True
    ):
        _product(rows, weights.up_EDF[expert], _of(weights.up_bias_EF, expert), out)
    for (expert, _), rows, out in zip(
        group, act(up_nU).split_with_sizes(sizes), y_nD.split_with_sizes(sizes), strict=True
    ):
        _product(rows, weights.down_EFD[expert], _of(weights.down_bias_ED, expert), out)


def widened(x_nD: Tensor, y_nD: Tensor, group: Group, weights: ExpertWeights, act: Act) -> None:
    """`plain` in float32, with one expert's weights converted at a time."""
    sizes = [count for _, count in group]
    for (expert, _), rows, out in zip(
        group, x_nD.split_with_sizes(sizes), y_nD.split_with_sizes(sizes), strict=True
    ):
        one = ExpertWeights(
            weights.up_EDF[expert, None].float(),
            weights.down_EFD[expert, None].float(),
            None if weights.up_bias_EF is None else weights.up_bias_EF[expert, None].float(),
            None if weights.down_bias_ED is None else weights.down_bias_ED[expert, None].float(),
        )
        wide = rows.float()
        plain(wide, wide, [(0, len(rows))], one, act)
        out.copy_(wide)


def packed(x_nD: Tensor, y_nD: Tensor, group: Group, weights: PackedExperts, act: Act) -> None:
    """Write a group's outputs to y, which may be x.

    An expert with fewer rows than `least_rows` is given its neighbours' too, which costs no time while its
    weights stream past.
    """
    linear = torch.ops.mkldnn._linear_pointwise.default  # noqa: SLF001
    ups, downs, up_biases, down_biases, least = weights
    if len(x_nD) < least:
        x_nD = torch.cat((x_nD, x_nD.new_zeros((least - len(x_nD), x_nD.shape[1]))))
    last = len(x_nD) - least
    outputs = []
    start = 0
    for expert, count in group:
        first = start if count >= least or start < last else last
        taken = x_nD[first : first + max(count, least)]
        up = linear(taken, ups[expert], up_biases[expert], "none", [], "")
        down = linear(act(up), downs[expert], down_biases[expert], "none", [], "")
        outputs.append(down if count >= least else down[start - first : start - first + count])
        start += count
    torch.cat(outputs, out=y_nD)


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> None:
    if bias is None:
        torch.mm(rows, weight, out=out)
    else:
        torch.addmm(bias, rows, weight, out=out)


def _of(biases: Tensor | None, expert: int) -> Tensor | None:
    return None if biases is None else biases[expert]

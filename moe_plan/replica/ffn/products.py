"""An expert's products over its rows: plain torch, in float32 where the type is slow here, or packed by oneDNN.

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

STREAMED_ROWS = 4
"""Rows below which oneDNN's AVX-512 product streams packed weights more slowly than for this many."""


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
    up_biases: tuple[Tensor, ...] | None
    down_biases: tuple[Tensor, ...] | None

    @property
    def experts(self) -> int:
        """E."""
        return len(self.up)


def packable(weights: ExpertWeights) -> bool:
    """Whether oneDNN takes weights of this type and device here."""
    up_EDF = weights.up_EDF
    if up_EDF.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return up_EDF.dtype == torch.float32 or is_native(up_EDF.dtype)


def pack(weights: ExpertWeights) -> PackedExperts:
    """A copy of the weights in oneDNN's layout, as large as they are; drop the originals to hold them once.

    A product of few rows then streams each weight once, without the copy that a plain one makes.
    """
    reorder = torch.ops.mkldnn._reorder_linear_weight.default
    return PackedExperts(
        tuple(reorder(up_DU.t().contiguous()) for up_DU in weights.up_EDF),
        tuple(reorder(down_FD.t().contiguous()) for down_FD in weights.down_EFD),
        None if weights.up_bias_EF is None else weights.up_bias_EF.unbind(),
        None if weights.down_bias_ED is None else weights.down_bias_ED.unbind(),
    )


def is_native(dtype: torch.dtype) -> bool:
    """Whether the CPU multiplies this type faster than float32 converted from it."""
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    if dtype == torch.float16:
        return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())
    return True


def plain(x_nD: Tensor, y_nD: Tensor, group: Group, weights: ExpertWeights, act: Act) -> None:
    """Write a group's outputs to y, which may be x: one product an expert, one activation for all."""
    sizes = [count for _, count in group]
    up_nU = x_nD.new_empty((len(x_nD), weights.up_EDF.shape[2]))
    for (expert, _), rows, out in zip(group, x_nD.split(sizes), up_nU.split(sizes), strict=True):
        _product(rows, weights.up_EDF[expert], _of(weights.up_bias_EF, expert), out)
    for (expert, _), rows, out in zip(group, act(up_nU).split(sizes), y_nD.split(sizes), strict=True):
        _product(rows, weights.down_EFD[expert], _of(weights.down_bias_ED, expert), out)


def widened(x_nD: Tensor, y_nD: Tensor, group: Group, weights: ExpertWeights, act: Act) -> None:
    """`plain` in float32, with one expert's weights converted at a time."""
    sizes = [count for _, count in group]
    for (expert, _), rows, out in zip(group, x_nD.split(sizes), y_nD.split(sizes), strict=True):
        one = ExpertWeights(*(None if w is None else w[expert, None].float() for w in weights))
        wide = rows.float()
        plain(wide, wide, [(0, len(rows))], one, act)
        out.copy_(wide)


def packed(x_nD: Tensor, y_nD: Tensor, group: Group, weights: PackedExperts, act: Act) -> None:
    """Write a group's outputs to y, which may be x.

    An expert with fewer than `STREAMED_ROWS` rows is given its neighbours' too, which costs no time while
    its weights stream past; what comes of them is dropped.
    """
    linear = torch.ops.mkldnn._linear_pointwise.default
    rows = len(x_nD)
    if rows < STREAMED_ROWS:
        x_nD = torch.cat((x_nD, x_nD.new_zeros((STREAMED_ROWS - rows, x_nD.shape[1]))))
    last = len(x_nD) - STREAMED_ROWS
    outputs = []
    start = 0
    for expert, count in group:
        first = start if count >= STREAMED_ROWS else min(start, last)
        taken = x_nD[first : max(start + count, first + STREAMED_ROWS)]
        up = linear(taken, weights.up[expert], _of(weights.up_biases, expert), "none", [], "")
        down = linear(act(up), weights.down[expert], _of(weights.down_biases, expert), "none", [], "")
        outputs.append(down if count >= STREAMED_ROWS else down[start - first : start - first + count])
        start += count
    torch.cat(outputs, out=y_nD)


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> None:
    if bias is None:
        torch.mm(rows, weight, out=out)
    else:
        torch.addmm(bias, rows, weight, out=out)


def _of(biases: Tensor | tuple[Tensor, ...] | None, expert: int) -> Tensor | None:
    return None if biases is None else biases[expert]

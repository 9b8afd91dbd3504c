"""An expert's products over its rows: plain, or in float32 where the CPU is slow in their type.

Legend: E experts, n rows of a group of experts, D width of the layer, F width of an expert, U columns of
the up product (2F where gated, else F).

Each expert's rows are worked on by themselves: beside its own, a row's output depends on the number of its
expert's rows at most, so that it is the same to the bit wherever the expert runs and whoever comes next to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Act: TypeAlias = "Callable[[Tensor], Tensor]"
Group: TypeAlias = "list[tuple[int, int]]"
"""Experts, each with its number of rows: never none."""

BLOCK_ELEMENTS = 1 << 19
"""Weights that are converted to float32 at a time: 2 MiB, which stay in a cache until they are multiplied."""


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


def _native() -> frozenset[torch.dtype]:
    """Asked once, at import: the question is an operation, which a counter would take for one of the model."""
    found = {torch.float64, torch.float32}
    if torch.backends.mkldnn.is_available():
        if torch.ops.mkldnn._is_mkldnn_bf16_supported():  # noqa: SLF001  torch has no public name for it
            found.add(torch.bfloat16)
        if torch.ops.mkldnn._is_mkldnn_fp16_supported():  # noqa: SLF001
            found.add(torch.float16)
    return frozenset(found)


_NATIVE = _native()


def is_native(dtype: torch.dtype) -> bool:
    """Whether the CPU multiplies this type faster than float32 converted from it."""
    return dtype in _NATIVE


def plain(x_nD: Tensor, y_nD: Tensor, group: Group, weights: ExpertWeights, act: Act) -> None:
    """Write a group's outputs to y, which may be x. Allocates [n, U], and what `act` does for one expert."""
    up_nU = x_nD.new_empty((len(x_nD), weights.up_EDF.shape[2]))
    for expert, rows, up, out in _by_expert(group, x_nD, up_nU, y_nD):
        _product(rows, weights.up_EDF[expert], _of(weights.up_bias_EF, expert), up)
        _product(act(up), weights.down_EFD[expert], _of(weights.down_bias_ED, expert), out)


def widened(x_nD: Tensor, y_nD: Tensor, group: Group, weights: ExpertWeights, act: Act) -> None:
    """`plain` in float32. Allocates [n, D], [n, U] and a block of weights, in float32."""
    wide_nD = x_nD.float()
    up_nU = wide_nD.new_empty((len(x_nD), weights.up_EDF.shape[2]))
    inputs = max(weights.up_EDF.shape[1], weights.down_EFD.shape[1])
    block = wide_nD.new_empty(max(BLOCK_ELEMENTS, inputs))
    for expert, rows, up in _by_expert(group, wide_nD, up_nU):
        _by_blocks(rows, weights.up_EDF[expert], _of(weights.up_bias_EF, expert), up, block)
        _by_blocks(act(up), weights.down_EFD[expert], _of(weights.down_bias_ED, expert), rows, block)
    y_nD.copy_(wide_nD)


def _by_blocks(rows: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor, block: Tensor) -> None:
    """A product, with as many columns of the weight converted at a time as the block holds."""
    columns = len(block) // len(weight)
    for start in range(0, weight.shape[1], columns):
        some = slice(start, start + columns)
        narrow = weight[:, some]
        wide = block[: narrow.numel()].view(narrow.shape).copy_(narrow)
        _product(rows, wide, None if bias is None else bias[some].float(), out[:, some])


def _by_expert(group: Group, *tensors: Tensor) -> Iterator[tuple[int, *tuple[Tensor, ...]]]:
    """Each expert with its rows of every tensor."""
    sizes = [count for _, count in group]
    parts = (tensor.split_with_sizes(sizes) for tensor in tensors)
    for (expert, _), *rows in zip(group, *parts, strict=True):
        yield expert, *rows


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> None:
    if bias is None:
        torch.mm(rows, weight, out=out)
    else:
        torch.addmm(bias, rows, weight, out=out)


def _of(biases: Tensor | None, expert: int) -> Tensor | None:
    return None if biases is None else biases[expert]

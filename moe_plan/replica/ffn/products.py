"""An expert's products over its rows: plain, or in float32 where the CPU is slow in their type.

Legend: E experts, n rows of a group of experts, D width of the layer, F width of an expert, U columns of
the up product (2F where gated, else F).

Each expert's rows are worked on by themselves: beside its own numbers, a row's output depends at most on how
many rows its expert has. So it is the same to the bit wherever the expert runs, and whoever is next to it.
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
    """Asked once, at import: the question is an operation, and a counter would take it for the model's."""
    found = {torch.float64, torch.float32}
    if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
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
    """Write a group's outputs to y, which may be x.

    Allocates [n, U] for the group, and what `act` allocates for the rows of one expert.
    """
    sizes = [count for _, count in group]
    up_nU = x_nD.new_empty((len(x_nD), weights.up_EDF.shape[2]))
    for (expert, _), rows, up, out in zip(
        group,
        x_nD.split_with_sizes(sizes),
        up_nU.split_with_sizes(sizes),
        y_nD.split_with_sizes(sizes),
        strict=True,
    ):
        _product(rows, weights.up_EDF[expert], _of(weights.up_bias_EF, expert), up)
        _product(act(up), weights.down_EFD[expert], _of(weights.down_bias_ED, expert), out)


def widened(x_nD: Tensor, y_nD: Tensor, group: Group, weights: ExpertWeights, act: Act) -> None:
    """`plain` in float32, with weights converted block by block.

    Allocates, in float32, [n, D], [n, U] and `block_elements` for the group, and the biases of one block and
    what `act` allocates for the rows of one expert in turn.
    """
    sizes = [count for _, count in group]
    wide_nD = x_nD.float()
    up_nU = wide_nD.new_empty((len(x_nD), weights.up_EDF.shape[2]))
    block = wide_nD.new_empty(block_elements(*up_nU.shape[1:], *weights.down_EFD.shape[1:]))
    for (expert, _), rows, up in zip(
        group, wide_nD.split_with_sizes(sizes), up_nU.split_with_sizes(sizes), strict=True
    ):
        _by_blocks(rows, weights.up_EDF[expert], _of(weights.up_bias_EF, expert), up, block)
        _by_blocks(act(up), weights.down_EFD[expert], _of(weights.down_bias_ED, expert), rows, block)
    y_nD.copy_(wide_nD)


def block_elements(columns: int, inputs: int, hidden: int) -> int:
    """Of the buffer for weights, where an expert's are [hidden, columns] and [inputs, hidden]."""
    whole = hidden * max(columns, inputs)
    return min(whole, max(BLOCK_ELEMENTS, hidden, inputs))


def _by_blocks(rows: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor, block: Tensor) -> None:
    """A product, with as many columns of the weight converted at a time as the block holds."""
    columns = len(block) // len(weight)
    for start in range(0, weight.shape[1], columns):
        some = slice(start, start + columns)
        narrow = weight[:, some]
        wide = block[: narrow.numel()].view(narrow.shape).copy_(narrow)
        _product(rows, wide, None if bias is None else bias[some].float(), out[:, some])


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> None:
    if bias is None:
        torch.mm(rows, weight, out=out)
    else:
        torch.addmm(bias, rows, weight, out=out)


def _of(biases: Tensor | None, expert: int) -> Tensor | None:
    return None if biases is None else biases[expert]

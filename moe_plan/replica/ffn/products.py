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

NARROW_ROWS = 2
"""Rows of an expert up to which a slow type's own product is faster than converting outputs-first weights: in
bfloat16 with AVX2 0.3 against 0.7 ms for one row, 0.6 against 1.0 for two, and no faster for four."""
BLOCK_ELEMENTS = 1 << 19
"""Weights that are converted to float32 at a time: 2 MiB, which stay in a cache until they are multiplied."""

ROW_BYTES = 16
"""Boundary on which every row of a product's output begins: where one does not, MKL adds in another order, so
that what comes of a row would depend on its place among others."""

WIDE = torch.float32
"""What a type is converted to that the CPU is slow in."""
LEAST_COLUMNS = ROW_BYTES // WIDE.itemsize
"""Columns that are converted at a time come in multiples of this, so that each begins on the boundary."""


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

    Allocates `aligned` [n, U] for the group, [n, D] too where that is wider than D, and what `act` allocates
    for the rows of one expert in turn.
    """
    sizes = [count for _, count in group]
    up_nU = aligned(x_nD, len(x_nD), weights.up_EDF.shape[2])
    is_aligned = y_nD.shape[1] * y_nD.element_size() % ROW_BYTES == 0
    out_nD = y_nD if is_aligned else aligned(y_nD, *y_nD.shape)
    for (expert, _), rows, up, out in zip(
        group,
        x_nD.split_with_sizes(sizes),
        up_nU.split_with_sizes(sizes),
        out_nD.split_with_sizes(sizes),
        strict=True,
    ):
        _product(rows, weights.up_EDF[expert], _of(weights.up_bias_EF, expert), up)
        _product(act(up), weights.down_EFD[expert], _of(weights.down_bias_ED, expert), out)
    if not is_aligned:
        y_nD.copy_(out_nD)


def widened(x_nD: Tensor, y_nD: Tensor, group: Group, weights: ExpertWeights, act: Act) -> None:
    """`plain` in float32, with weights converted block by block; but itself for a row or two, outputs first.

    Allocates, in float32, `block_elements`, `aligned` [n, D] and [n, U] for the group; for each expert in
    turn the bias of each product and what `act` does for its rows; and what `plain` does for a row or two.
    """
    sizes = [count for _, count in group]
    narrow_rows = NARROW_ROWS if weights.up_EDF.stride(1) == 1 else 0
    block = x_nD.new_empty(block_elements(weights), dtype=WIDE)
    wide_nD = aligned(block, *x_nD.shape).copy_(x_nD)
    up_nU = aligned(block, len(x_nD), weights.up_EDF.shape[2])
    for (expert, count), own, rows, up, out in zip(
        group, *(rows.split_with_sizes(sizes) for rows in (x_nD, wide_nD, up_nU, y_nD)), strict=True
    ):
        if count <= narrow_rows:
            plain(own, out, [(expert, count)], weights, act)
            continue
        _by_blocks(rows, weights.up_EDF[expert], _of(weights.up_bias_EF, expert), up, block)
        _by_blocks(act(up), weights.down_EFD[expert], _of(weights.down_bias_ED, expert), rows, block)
        out.copy_(rows)


def aligned(like: Tensor, rows: int, columns: int) -> Tensor:
    """[rows, columns] of the type of `like`, each row padded to a multiple of `ROW_BYTES`."""
    unit = ROW_BYTES // like.element_size()
    return like.new_empty((rows, -(-columns // unit) * unit))[:, :columns]


def block_elements(weights: ExpertWeights) -> int:
    """Of the buffer in which weights are converted."""
    (_, hidden, columns), inputs = weights.up_EDF.shape, weights.down_EFD.shape[1]
    least = LEAST_COLUMNS * max(hidden, columns, inputs)
    return min(hidden * max(columns, inputs), max(BLOCK_ELEMENTS, least))


def _by_blocks(rows: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor, block: Tensor) -> None:
    """A product; as much of the weight is converted at a time as the block holds and memory has in a row."""
    inputs, columns = weight.shape
    bias = None if bias is None else bias.to(WIDE)
    if weight.stride(0) == 1:
        some = max(len(block) // inputs // LEAST_COLUMNS, 1) * LEAST_COLUMNS
        for start in range(0, columns, some):
            part = weight[:, start : start + some]
            wide = block[: part.numel()].view(part.shape[::-1]).copy_(part.t()).t()
            own = None if bias is None else bias[start : start + some]
            _product(rows, wide, own, out[:, start : start + some])
        return
    some = len(block) // columns
    for start in range(0, inputs, some):
        part = weight[start : start + some]
        wide = block[: part.numel()].view(part.shape).copy_(part)
        _product(rows[:, start : start + some], wide, out if start else bias, out)


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> None:
    if bias is None:
        torch.mm(rows, weight, out=out)
    else:
        torch.addmm(bias, rows, weight, out=out)


def _of(biases: Tensor | None, expert: int) -> Tensor | None:
    return None if biases is None else biases[expert]

"""How torch walks through tensors elementwise: dimensions are joined while every operand allows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def loops(out: Tensor, inputs: list[Tensor]) -> tuple[int, bool]:
    """Innermost loops of an elementwise operation, and whether they step over elements.

    As torch's TensorIterator does it: dimensions in the order of the output's strides; a dimension is joined
    with the one inside it where for every operand the two are one even step. An operand that is broadcast
    along the innermost loop is a constant there.
    """
    sizes = [size for size in out.shape if size != 1]
    if not sizes or not out.numel():
        return 1, False
    strides = [_strides(tensor, out) for tensor in (out, *inputs)]
    order = sorted(range(len(sizes)), key=lambda d: (strides[0][d], -d))
    inner = sizes[order[0]]
    steps = [stride[order[0]] for stride in strides]
    for d in order[1:]:
        if any(stride[d] != inner * step for stride, step in zip(strides, steps, strict=True)):
            break
        inner *= sizes[d]
    return out.numel() // inner, any(step not in {0, 1} for step in steps)


def _strides(tensor: Tensor, out: Tensor) -> list[int]:
    """Of each dimension of `out` that is not 1; 0 where `tensor` is broadcast."""
    missing = out.dim() - tensor.dim()
    pairs = zip([1] * missing + list(tensor.shape), [0] * missing + list(tensor.stride()), strict=True)
    return [
        0 if size == 1 else stride
        for (size, stride), whole in zip(pairs, out.shape, strict=True)
        if whole != 1
    ]

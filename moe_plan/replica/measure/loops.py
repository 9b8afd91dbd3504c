"""How torch walks through tensors elementwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def is_scattered(out: Tensor, inputs: list[Tensor]) -> bool:
    """Whether the innermost loop of an elementwise operation steps over elements, so that none are vectors.

    As torch's TensorIterator orders it: by the output's strides. An operand that is broadcast along the
    innermost loop is a constant there.
    """
    if not out.numel():
        return False
    strides = [_strides(tensor, out) for tensor in (out, *inputs)]
    if not strides[0]:
        return False
    inner = min(range(len(strides[0])), key=lambda d: (strides[0][d], -d))
    return any(stride[inner] not in {0, 1} for stride in strides)


def _strides(tensor: Tensor, out: Tensor) -> list[int]:
    """Of each dimension of `out` that is not 1; 0 where `tensor` is broadcast."""
    missing = out.dim() - tensor.dim()
    pairs = zip([1] * missing + list(tensor.shape), [0] * missing + list(tensor.stride()), strict=True)
    return [
        0 if size == 1 else stride
        for (size, stride), whole in zip(pairs, out.shape, strict=True)
        if whole != 1
    ]

"""Norms of the residual stream and of heads; sums are in float32 whatever the type of the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from moe_plan.replica.block import Block

if TYPE_CHECKING:
    from moe_plan.spec.model import Norm


def rms(x: Tensor, weight: Tensor | None, eps: float, *, zero_centered: bool = False) -> Tensor:
    """RMS norm: x / sqrt(mean(x^2) + eps) * weight, over the last dimension (arXiv 1910.07467)."""
    wide = x.float()
    normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    if weight is None:
        return normed.to(x.dtype)
    if zero_centered:
        return (normed * (1.0 + weight.float())).to(x.dtype)
    return normed.to(x.dtype) * weight


class Norms(Block):
    """The `count` norms of one layer, [count, width] in one tensor."""

    weight: Tensor
    bias: Tensor

    def __init__(self, norm: Norm, count: int, width: int, owner: str = "norm") -> None:
        super().__init__()
        self.owner = owner
        self.norm = norm
        if count:
            self.declare("weight", count, width, start="norm")
            if norm.bias:
                self.declare("bias", count, width, start="vector")

    def forward(self, x: Tensor, index: int) -> Tensor:
        """Norm number `index` of the layer over the last dimension of `x`."""
        if self.norm.kind == "rms":
            return rms(x, self.weight[index], self.norm.eps, zero_centered=self.norm.zero_centered)
        bias = self.bias[index] if self.norm.bias else None
        weight = self.weight[index]
        if self.norm.zero_centered:
            weight = 1.0 + weight
        return functional.layer_norm(x, (x.shape[-1],), weight, bias, self.norm.eps)

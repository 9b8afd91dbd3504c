"""Manifold-constrained hyper-connections: several residual streams, read, written and mixed by learned maps.

A layer's blocks read one weighted sum of the streams, their output is added to every stream with a weight of
its own, and the streams are mixed by a matrix that Sinkhorn's iterations make doubly stochastic. The weights
are computed for each token from its normed streams, in float32. After transformers' DeepseekV4 classes.

All streams start as the token's embedding. Widest moment of `read`: the squares of the streams [B, T, S * D]
in float32 (in a narrow type the streams in float32 too), freed before the block runs; of `write`: the block's
output and the mixed streams, beside the streams it was given.

Legend: B sequences, T new tokens, S streams, D hidden, M = S * (S + 2) maps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from moe_plan.replica.block import Block
from moe_plan.replica.labels import named

if TYPE_CHECKING:
    from moe_plan.spec.model import Norm

ITERATIONS = 20
"""Of Sinkhorn's algorithm (hc_sinkhorn_iters of DeepSeek-V4)."""
EPS = 1e-6
"""Least weight, and least divisor in Sinkhorn's algorithm (hc_eps of DeepSeek-V4)."""


class Carry(NamedTuple):
    """What `read` computes for `write`."""

    post_BTS: Tensor
    """Weight of the block's output in each stream."""
    mixing_BTSS: Tensor
    """Weight of each old stream (first S) in each new one."""


class Hyper(Block):
    """The connections of one block of a layer: `read` before it, `write` after it."""

    maps: Tensor
    base: Tensor
    scale: Tensor

    def __init__(self, streams: int, hidden: int, index: int, norm: Norm) -> None:
        super().__init__()
        self.owner, self.streams, self.eps = f"hyper.{index}", streams, norm.eps
        count = streams * (streams + 2)
        self.declare("maps", count, streams * hidden)
        self.declare("base", count, start="vector")
        self.declare("scale", 3, start="norm")

    def read(self, x_BTSD: Tensor) -> tuple[Tensor, Carry]:
        """The block's input [B, T, D], and what `write` needs."""
        maps_BTM = _projected(x_BTSD, self.maps, f"{self.owner}.maps", self.eps)
        count, scale, base = self.streams, self.scale.float(), self.base.float()
        pre_BTS = torch.sigmoid(maps_BTM[..., :count] * scale[0] + base[:count]).add_(EPS)
        post = torch.sigmoid(maps_BTM[..., count : 2 * count] * scale[1] + base[count : 2 * count]).mul_(2)
        mixing = maps_BTM[..., 2 * count :] * scale[2] + base[2 * count :]
        mixing = mixing.view(*mixing.shape[:2], count, count)
        mixing = doubly_stochastic(torch.softmax(mixing, dim=-1).add_(EPS))
        carry = Carry(post.to(x_BTSD.dtype), mixing.to(x_BTSD.dtype))
        return _sum_of_streams(x_BTSD, pre_BTS), carry

    def write(self, x_BTSD: Tensor, out_BTD: Tensor, carry: Carry) -> Tensor:
        """The streams after the block, [B, T, S, D]."""
        with named(f"{self.owner}.mix"):
            mixed = torch.bmm(carry.mixing_BTSS.flatten(0, 1).transpose(1, 2), x_BTSD.flatten(0, 1))
        return mixed.view(x_BTSD.shape).addcmul_(carry.post_BTS.unsqueeze(-1), out_BTD.unsqueeze(2))


class HyperHead(Block):
    """One stream from all, after the last layer."""

    owner = "hyper.head"
    maps: Tensor
    base: Tensor
    scale: Tensor

    def __init__(self, streams: int, hidden: int, norm: Norm) -> None:
        super().__init__()
        self.eps = norm.eps
        self.declare("maps", streams, streams * hidden)
        self.declare("base", streams, start="vector")
        self.declare("scale", 1, start="norm")

    def forward(self, x_BTSD: Tensor) -> Tensor:
        """Weighted sum of the streams, [B, T, D]."""
        maps_BTS = _projected(x_BTSD, self.maps, f"{self.owner}.maps", self.eps)
        weights_BTS = torch.sigmoid(maps_BTS.mul_(self.scale.float()).add_(self.base.float())).add_(EPS)
        return _sum_of_streams(x_BTSD, weights_BTS)


def doubly_stochastic(weights_BTSS: Tensor) -> Tensor:
    """Sinkhorn and Knopp: rows and columns scaled in turn, in place, until all sum to one, columns last."""
    weights_BTSS.div_(weights_BTSS.sum(-2, keepdim=True).add_(EPS))
    for _ in range(ITERATIONS - 1):
        weights_BTSS.div_(weights_BTSS.sum(-1, keepdim=True).add_(EPS))
        weights_BTSS.div_(weights_BTSS.sum(-2, keepdim=True).add_(EPS))
    return weights_BTSS


def _projected(x_BTSD: Tensor, maps_MW: Tensor, name: str, eps: float) -> Tensor:
    """Maps of the normed streams of each token in float32, [B, T, M].

    The norm is one factor for a token and has no weights, so it is applied to the few maps.
    """
    wide_BTW = x_BTSD.flatten(2).float()
    factor = wide_BTW.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
    # The name is that of the weight, which may be a copy in float32 here.
    with named(name):
        return functional.linear(wide_BTW, maps_MW.float()).mul_(factor)


def _sum_of_streams(x_BTSD: Tensor, weights_BTS: Tensor) -> Tensor:
    """Sum over streams of weight * stream, [B, T, D], a stream at a time: in float32 like its weights."""
    total = x_BTSD[:, :, 0] * weights_BTS[..., :1]
    for stream in range(1, x_BTSD.shape[2]):
        total.addcmul_(x_BTSD[:, :, stream], weights_BTS[..., stream : stream + 1])
    return total.to(x_BTSD.dtype)

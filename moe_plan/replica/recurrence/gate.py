"""What stands around a scan: decays before it, norms and gates after it, in place wherever nothing is lost.

Legend: B sequences, T new tokens, C channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


def decay_in_place(dt: Tensor, dt_bias: Tensor, a_log: Tensor) -> Tensor:
    """exp(-exp(a_log) softplus(dt + bias)), between 0 and 1: new; its bias is added to `dt`, float32."""
    return functional.softplus(dt.add_(dt_bias.float())).mul_(-a_log.float().exp()).exp_()


def rms_in_place(x: Tensor, eps: float) -> Tensor:
    """`x` / sqrt(mean(x^2) + eps) over the last dimension, in place; the squares live for a moment."""
    return x.mul_(x.square().mean(-1, keepdim=True).add_(eps).rsqrt_())


def unit_in_place(x: Tensor, eps: float) -> Tensor:
    """`x` / sqrt(sum(x^2) + eps) over the last dimension, in place; the squares live for a moment."""
    return x.mul_(x.square().sum(-1, keepdim=True).add_(eps).rsqrt_())


def gated(gate_BTC: Tensor, y_TBC: Tensor) -> Tensor:
    """`y` times the gate, [B, T, C] in the gate's memory and type; in a narrow type `y` is copied first."""
    return gate_BTC.mul_(y_TBC.transpose(0, 1).to(gate_BTC.dtype))

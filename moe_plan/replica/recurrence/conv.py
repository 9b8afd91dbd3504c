"""Depthwise causal convolutions over the tokens of a sequence, and the inputs that they carry on.

A projection [B, T, C] is the channels-last form of an image of one row, [B, C, 1, T]: nothing is transposed.

Widest moment of `convolved`: the projection beside the joined inputs, B x (T + S) x C; as much again when
these stand beside the output. oneDNN puts the taps into an order of its own meanwhile, J x C more that only a
profiler sees.

Legend: B sequences, T new tokens, D hidden, C channels, J taps, P = J - 1 inputs carried, S = P + T.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

from moe_plan.replica.store import Fixed

if TYPE_CHECKING:
    from torch import Tensor


def conv_state(batch: int, channels: int, taps: int, like: Tensor) -> Fixed:
    """The last `taps` - 1 inputs of each channel, zeros: [B, P, C] in the type of `like`."""
    return Fixed(batch, (taps - 1, channels), like.dtype, like.device)


def convolved(
    x_BTD: Tensor, projection_CD: Tensor, taps_C1J: Tensor, bias_C: Tensor | None, past_BPC: Tensor | None
) -> Tensor:
    """SiLU of the convolution of a projection of `x`: [B, T, C], new; `past` is moved on in place."""
    joined_BSC = join(functional.linear(x_BTD, projection_CD), taps_C1J.shape[2], past_BPC)
    return functional.silu(depthwise(joined_BSC, taps_C1J, bias_C), inplace=True)


def join(new_BTC: Tensor, taps: int, past_BPC: Tensor | None) -> Tensor:
    """Earlier inputs, or zeros, before the new ones: [B, S, C], new; `past` becomes the last P of them."""
    batch, tokens, channels = new_BTC.shape
    carried = taps - 1
    joined_BSC = new_BTC.new_empty((batch, carried + tokens, channels))
    if past_BPC is None:
        joined_BSC[:, :carried].zero_()
    else:
        joined_BSC[:, :carried].copy_(past_BPC)
    joined_BSC[:, carried:].copy_(new_BTC)
    if past_BPC is not None:
        past_BPC.copy_(joined_BSC[:, tokens:])
    return joined_BSC


def depthwise(joined_BSC: Tensor, taps_C1J: Tensor, bias_C: Tensor | None = None) -> Tensor:
    """Each channel's convolution over exactly the T outputs that are wanted: [B, T, C], new."""
    image_BC1S = joined_BSC.transpose(1, 2).unsqueeze(2)
    out_BC1T = functional.conv2d(image_BC1S, taps_C1J.unsqueeze(2), bias_C, groups=taps_C1J.shape[0])
    return out_BC1T.squeeze(2).transpose(1, 2)

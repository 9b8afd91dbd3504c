"""Rotary positions: their frequencies, tables of cosines and sines, and the rotation of queries and keys.

Legend: T positions, R pairs of rotated channels. A table has one column a pair, [T, R].
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from moe_plan.spec.rope import Llama3, Rope, Yarn


def inverse_frequencies(
    rope: Rope, head_dim: int, device: torch.device | str | None = None
) -> tuple[Tensor, float]:
    """Radians a position for each pair, [R] in fp32, and the factor on cosines and sines.

    Of an odd number of channels the largest even number is rotated. Proportional frequencies (Gemma 4)
    are those of the whole head: R is half of it, and pairs beyond `rope.dim` have frequency 0.
    """
    turned = min(rope.dim or head_dim, head_dim) // 2
    width = 2 * (head_dim // 2 if rope.proportional else turned)
    exponents = torch.arange(0, width, 2, dtype=torch.int64, device=device).to(torch.float32) / width
    frequencies = 1.0 / rope.theta**exponents
    if rope.proportional:
        frequencies[turned:] = 0.0
    if rope.scaling is None:
        return frequencies, 1.0
    if rope.scaling.kind == "llama3":
        return _llama3(frequencies, rope.scaling), 1.0
    return _yarn(frequencies, rope.scaling, rope.theta), _attention_factor(rope.scaling)


def softmax_scale_factor(rope: Rope | None) -> float:
    """What YaRN's temperature of all channels multiplies the softmax scale by (DeepSeek-V2, MLA)."""
    if rope is None or rope.scaling is None or rope.scaling.kind != "yarn":
        return 1.0
    return _temperature(rope.scaling.factor, rope.scaling.mscale_all_dim or 0.0) ** 2


def tables(rope: Rope, head_dim: int, positions_T: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines of positions, each [T, R] in `dtype`, for `rotate`.

    Beside the two results in fp32, R + T fp32 values live while they are made; in a narrower `dtype` the
    two are cast one after the other, while both fp32 tables of [T, R] live.
    """
    frequencies_R, factor = inverse_frequencies(rope, head_dim, positions_T.device)
    angles_TR = positions_T.to(torch.float32)[:, None] * frequencies_R
    cos_TR, sin_TR = angles_TR.cos(), angles_TR.sin_()
    if factor != 1.0:
        cos_TR.mul_(factor)
        sin_TR.mul_(factor)
    return cos_TR.to(dtype), sin_TR.to(dtype)


def rotate(x: Tensor, cos_TR: Tensor, sin_TR: Tensor, *, interleaved: bool, last: bool = False) -> Tensor:
    """`x` [..., T, head_dim] with 2 R of its channels turned: the first, or the `last` (DeepSeek-V4).

    A pair is two neighbouring channels where `interleaved`, otherwise channels R apart; both stay where they
    were. With the sines negated it turns back. The result is new and contiguous; nothing else is allocated.
    """
    turned, start = 2 * cos_TR.shape[-1], 0
    out = x.new_empty(x.shape)
    if last:
        start = x.shape[-1] - turned
        out[..., :start].copy_(x[..., :start])
    elif turned < x.shape[-1]:
        out[..., turned:].copy_(x[..., turned:])
    a, b = _pairs(x[..., start : start + turned], interleaved=interleaved)
    out_a, out_b = _pairs(out[..., start : start + turned], interleaved=interleaved)
    torch.mul(a, cos_TR, out=out_a).addcmul_(b, sin_TR, value=-1)
    torch.mul(b, cos_TR, out=out_b).addcmul_(a, sin_TR)
    return out


def _pairs(x: Tensor, *, interleaved: bool) -> tuple[Tensor, Tensor]:
    """Views of the first and of the second channels of the pairs."""
    if interleaved:
        return x[..., ::2], x[..., 1::2]
    half = x.shape[-1] // 2
    return x[..., :half], x[..., half:]


def _llama3(frequencies_R: Tensor, scaling: Llama3) -> Tensor:
    """Turns per original context decide: few are slowed by `factor`, many are left, between them a ramp."""
    turns = scaling.original_context * frequencies_R / (2 * math.pi)
    kept = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    return torch.lerp(frequencies_R / scaling.factor, frequencies_R, kept.clamp(0, 1))


def _yarn(frequencies_R: Tensor, scaling: Yarn, theta: float) -> Tensor:
    """As `_llama3`, with a ramp that is linear in the channel (arXiv 2309.00071, section 3.2)."""
    width = 2 * frequencies_R.numel()

    def channel(turns: float) -> float:
        return width * math.log(scaling.original_context / (2 * math.pi * turns)) / (2 * math.log(theta))

    low, high = channel(scaling.beta_fast), channel(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    # A ramp of no width is a step.
    high += 0.001 if low == high else 0.0
    channels_R = torch.arange(width // 2, dtype=torch.float32, device=frequencies_R.device)
    slowed_R = ((channels_R - low) / (high - low)).clamp(0, 1)
    return torch.lerp(frequencies_R, frequencies_R / scaling.factor, slowed_R)


def _attention_factor(scaling: Yarn) -> float:
    if scaling.attention_factor is not None:
        return scaling.attention_factor
    if scaling.mscale and scaling.mscale_all_dim:
        rotated = _temperature(scaling.factor, scaling.mscale)
        return rotated / _temperature(scaling.factor, scaling.mscale_all_dim)
    return _temperature(scaling.factor, 1.0)


def _temperature(factor: float, mscale: float) -> float:
    return 0.1 * mscale * math.log(factor) + 1.0 if factor > 1 else 1.0

"""Activations of feed-forward networks, computed in place on the up product.

Legend: n rows, F intermediate width, U = 2F where gated (gate columns first, then up), else F.
Every function may overwrite its argument and returns a view of it: no element of [n, F] is allocated,
save where a docstring says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

OAI_SLOPE = 1.702
"""Slope of the sigmoid in gpt-oss's gate (modeling_gpt_oss.py, `alpha`)."""


def activation(name: str, *, gated: bool, limit: float | None = None) -> Callable[[Tensor], Tensor]:
    """The function from an up product [n, U] to [n, F]; it may overwrite what it is given.

    `limit` clips before the activation: the gate from above, the other branch from both sides
    (DeepSeek-V4's `swiglu_limit`, gpt-oss); without a gate, from above. `oai-swiglu` is gpt-oss's
    (up + 1) * gate * sigmoid(1.702 gate); it allocates [n, F] once. KeyError for an unknown name.
    """
    if name == "oai-swiglu":
        return lambda up_nU: _oai(*_clipped(up_nU, limit))
    function_ = _IN_PLACE[name]
    if gated:
        if limit is None:
            return lambda up_nU: _gated(up_nU, function_)
        return lambda up_nU: _product(*_clipped(up_nU, limit), function_)
    if limit is None:
        return function_
    return lambda up_nF: function_(up_nF.clamp_(max=limit))


def _gated(up_nU: Tensor, function_: Callable[[Tensor], Tensor]) -> Tensor:
    gate_nF, up_nF = up_nU.chunk(2, -1)
    return function_(gate_nF).mul_(up_nF)


def _clipped(up_nU: Tensor, limit: float | None) -> tuple[Tensor, Tensor]:
    gate_nF, up_nF = up_nU.chunk(2, -1)
    if limit is None:
        return gate_nF, up_nF
    return gate_nF.clamp_(max=limit), up_nF.clamp_(-limit, limit)


def _product(gate_nF: Tensor, up_nF: Tensor, function_: Callable[[Tensor], Tensor]) -> Tensor:
    return function_(gate_nF).mul_(up_nF)


def _oai(gate_nF: Tensor, up_nF: Tensor) -> Tensor:
    sigmoid_nF = (gate_nF * OAI_SLOPE).sigmoid_()
    return gate_nF.mul_(sigmoid_nF).mul_(up_nF.add_(1))


def _gelu(up_nF: Tensor) -> Tensor:
    activated: Tensor = torch.ops.aten.gelu_.default(up_nF)
    return activated


def _gelu_tanh(up_nF: Tensor) -> Tensor:
    activated: Tensor = torch.ops.aten.gelu_.default(up_nF, approximate="tanh")
    return activated


def _silu(up_nF: Tensor) -> Tensor:
    return torch.nn.functional.silu(up_nF, inplace=True)


_IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": _silu,
    "gelu": _gelu,
    "gelu-tanh": _gelu_tanh,
    "relu": torch.relu_,
    "relu2": lambda up_nF: torch.relu_(up_nF).square_(),
}

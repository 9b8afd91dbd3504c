"""Feed-forward networks that every token uses: a layer's own, and the shared expert beside routed ones.

Legend: B sequences, T new tokens, N rows (all tokens of all sequences), D hidden, F intermediate width,
U columns of the up product (2F where gated, gate first, else F).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from moe_plan.replica.block import Block
from moe_plan.replica.ffn.activations import activation

if TYPE_CHECKING:
    from moe_plan.replica.call import Call
    from moe_plan.spec.ffn import DenseFfn, MoeFfn


class Dense(Block):
    """down(activation(gate(x), up(x))), or down(activation(up(x))) where nothing is gated."""

    owner = "dense"
    gate: Tensor
    up: Tensor
    down: Tensor
    gate_bias: Tensor
    up_bias: Tensor
    down_bias: Tensor

    def __init__(self, spec: DenseFfn | MoeFfn, hidden: int, width: int, *, bias: bool = False) -> None:
        """`spec` says how: gated or not, which activation, what limit."""
        super().__init__()
        self.width, self.has_bias = width, bias
        self.ups = ("gate", "up") if spec.gated else ("up",)
        self.act = activation(spec.activation, gated=spec.gated, limit=spec.limit)
        for name in self.ups:
            self.declare(name, width, hidden)
        self.declare("down", hidden, width)
        if bias:
            for name in self.ups:
                self.declare(f"{name}_bias", width, start="vector")
            self.declare("down_bias", hidden, start="vector")

    def forward(self, x_BTD: Tensor, call: Call | None = None) -> Tensor:  # noqa: ARG002  as Moe's
        """[B, T, D]; every dimension but the last is one of rows."""
        x_ND = x_BTD.reshape(-1, x_BTD.shape[-1])
        up_NU = x_ND.new_empty((x_ND.shape[0], len(self.ups) * self.width))
        for name, out_NF in zip(self.ups, up_NU.chunk(len(self.ups), 1), strict=True):
            self._product(x_ND, name, out_NF)
        out_ND = torch.empty_like(x_ND)
        self._product(self.act(up_NU), "down", out_ND)
        return out_ND.view(x_BTD.shape)

    def _product(self, rows: Tensor, name: str, out: Tensor) -> None:
        """Write rows times one matrix into `out`, so that gate and up need not be joined later."""
        weight: Tensor = getattr(self, name)
        if self.has_bias:
            torch.addmm(getattr(self, f"{name}_bias"), rows, weight.t(), out=out)
        else:
            torch.mm(rows, weight.t(), out=out)


class Shared(Dense):
    """The shared expert of a mixture: as the routed ones, of its own width, without biases."""

    owner = "shared"

    def __init__(self, spec: MoeFfn, hidden: int, width: int) -> None:
        super().__init__(spec, hidden, width)

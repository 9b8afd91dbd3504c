"""Lightning attention: linear attention with a fixed decay for each head (MiniMax-01, arXiv 2501.08313).

Rows of `qkv`: all heads' queries, all keys, all values (the release has them head by head).

Widest moment of a prefill of one sequence in float32, beside input, cache and state: queries, keys and values
of all tokens, 3 x T x W, from their projection to the end of the scan. In a narrow type, or for several
sequences, the scan is over float32 copies, and the last is made while its original lives. Without a state,
one of zeros lives from before the scan to its end.

Legend: B sequences, T new tokens, D hidden, H heads, d width of a head, W = H x d.
"""

from __future__ import annotations

import math
from itertools import repeat
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from moe_plan.replica.mixer import Mixer
from moe_plan.replica.recurrence.gate import gated, rms_in_place
from moe_plan.replica.recurrence.scan import Steps, by_head, started, token_major, write_and_read
from moe_plan.replica.store import Fixed, State

if TYPE_CHECKING:
    from torch import Tensor

    from moe_plan.replica.call import Call
    from moe_plan.spec.attention import LightningAttention
    from moe_plan.spec.model import Norm

SMALL = 1e-5
"""Keeps the last layer's decay above nothing, and a model of one layer from dividing by zero."""


class LightningMixer(Mixer):
    """MiniMax-Text-01's mixer; deeper layers forget less."""

    qkv: Tensor
    gate: Tensor
    out_norm: Tensor
    o: Tensor

    def __init__(
        self,
        spec: LightningAttention,
        hidden: int,
        norm: Norm,  # noqa: ARG002  as every mixer; its own norm has an eps of its own
        *,
        layer: int,
        layers: int,
    ) -> None:
        """The `layer`-th of `layers` of its stack, from 0, those of other kinds counted too."""
        super().__init__()
        self.spec = spec
        self.width = spec.heads * spec.head_dim
        self.forgetting = 1 - layer / (layers - 1 + SMALL) + SMALL
        self.declare("qkv", 3 * self.width, hidden)
        self.declare("gate", self.width, hidden)
        self.declare("out_norm", self.width, start="norm")
        self.declare("o", hidden, self.width)
        self.state_shape = (spec.heads, spec.head_dim, spec.head_dim)

    def state(self, batch: int, capacity: int, like: Tensor) -> State:  # noqa: ARG002  of fixed size
        """The recurrent state [B, H, d, d] in float32."""
        return {"attention.recurrent_state": Fixed(batch, self.state_shape, torch.float32, like.device)}

    def forward(self, x_BTD: Tensor, state: State | None, call: Call) -> Tensor:  # noqa: ARG002  as every mixer
        """Output of the mixer for the new tokens, [B, T, D]."""
        return functional.linear(self._mixed(x_BTD, state), self.o)

    def _mixed(self, x_BTD: Tensor, state: State | None) -> Tensor:
        """The state's answers, normed and gated: [B, T, W]."""
        y_TBW = self._scanned(x_BTD, state)
        rms_in_place(y_TBW, self.spec.eps).mul_(self.out_norm.float())
        gate_BTW = functional.linear(x_BTD, self.gate).sigmoid_()
        return gated(gate_BTW, y_TBW)

    def _scanned(self, x_BTD: Tensor, state: State | None) -> Tensor:
        """What the state gives each token, [T, B, W] in float32."""
        queries_TBW, keys_TBW, values_TBW = (self._activated(x_BTD, index) for index in range(3))
        steps = Steps(
            repeat(self._decays(x_BTD), x_BTD.shape[1]),
            by_head(keys_TBW, self.spec.head_dim),
            by_head(queries_TBW, self.spec.head_dim),
            by_head(values_TBW, 1, self.spec.head_dim),
        )
        write_and_read(started(state, "attention.recurrent_state", self.state_shape, x_BTD), steps)
        return values_TBW

    def _activated(self, x_BTD: Tensor, index: int) -> Tensor:
        """Queries, keys or values, by `index`: [T, B, W] in float32."""
        weight_WD = self.qkv[index * self.width : (index + 1) * self.width]
        return token_major(functional.silu(functional.linear(x_BTD, weight_WD), inplace=True))[0]

    def _decays(self, x_BTD: Tensor) -> Tensor:
        """What a state keeps from one token to the next, the same for all tokens: [N, 1, 1, 1]."""
        heads = self.spec.heads
        head_H = torch.arange(1, heads + 1, dtype=torch.float32, device=x_BTD.device)
        # Slopes of 2 ** (-8 h / H), as in ALiBi (arXiv 2108.12409).
        slope_H = head_H.mul_(-8 * math.log(2) / heads).exp_().mul_(self.forgetting)
        return slope_H.neg_().exp_().repeat(x_BTD.shape[0])[:, None, None, None]

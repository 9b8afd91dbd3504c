"""Selective state space (Mamba, arXiv 2312.00752), with Jamba's norms on dt, B and C where the spec has them.

Rows of `in`: the inputs of the scan, then the gates. Rows of `x`: dt, B, C.

Widest moment of a prefill of one sequence in float32, beside input, cache and state: while the state is
scanned, convolved inputs, time steps and their product, 3 x T x I, B and C, 2 x T x n, and twice I x n: the
rates of decay and one token's decay. In a narrow type, or for several sequences, float32 copies take the
places of what is scanned. Without a state, one of zeros lives from before the scan to its end.

Legend: B sequences, T new tokens, D hidden, I inner channels, n elements of a channel's state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from moe_plan.replica.mixer import Mixer
from moe_plan.replica.norm import rms
from moe_plan.replica.recurrence.conv import conv_state, convolved
from moe_plan.replica.recurrence.gate import gated
from moe_plan.replica.recurrence.scan import Steps, by_head, carried, started, token_major, write_and_read
from moe_plan.replica.store import Fixed, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from moe_plan.replica.call import Call
    from moe_plan.spec.attention import Mamba1
    from moe_plan.spec.model import Norm


class Mamba1Mixer(Mixer):
    """Mamba's mixer: every channel has a state of its own."""

    conv: Tensor
    conv_bias: Tensor | None
    x: Tensor
    dt: Tensor
    dt_bias: Tensor
    a_log: Tensor
    d: Tensor
    dt_norm: Tensor
    b_norm: Tensor
    c_norm: Tensor
    o: Tensor

    def __init__(self, spec: Mamba1, hidden: int, norm: Norm) -> None:
        super().__init__()
        self.spec, self.norm = spec, norm
        self.declare("in", 2 * spec.inner, hidden)
        self.declare("conv", spec.inner, 1, spec.conv)
        if spec.conv_bias:
            self.declare("conv_bias", spec.inner, start="vector")
        else:
            self.conv_bias = None
        self.declare("x", spec.dt_rank + 2 * spec.state, spec.inner)
        self.declare("dt", spec.inner, spec.dt_rank)
        self.declare("dt_bias", spec.inner, start="vector")
        self.declare("a_log", spec.inner, spec.state, start="decay")
        self.declare("d", spec.inner, start="norm")
        if spec.inner_norms:
            self.declare("dt_norm", spec.dt_rank, start="norm")
            self.declare("b_norm", spec.state, start="norm")
            self.declare("c_norm", spec.state, start="norm")
        self.declare("o", hidden, spec.inner)
        self.state_shape = (1, spec.state, spec.inner)

    def state(self, batch: int, capacity: int, like: Tensor) -> State:  # noqa: ARG002  of fixed size
        """The state [B, 1, n, I] in float32, and the last inputs of the convolution."""
        return {
            "attention.ssm_state": Fixed(batch, self.state_shape, torch.float32, like.device),
            "attention.conv_state": conv_state(batch, self.spec.inner, self.spec.conv, like),
        }

    def forward(self, x_BTD: Tensor, state: State | None, call: Call) -> Tensor:  # noqa: ARG002  as every mixer
        """Output of the mixer for the new tokens, [B, T, D]."""
        return functional.linear(self._mixed(x_BTD, state), self.o)

    def _mixed(self, x_BTD: Tensor, state: State | None) -> Tensor:
        """The state's answers, gated: [B, T, I]."""
        inputs_ID, gates_ID = getattr(self, "in").chunk(2)
        y_TBI = self._scanned(x_BTD, inputs_ID, state)
        gate_BTI = functional.silu(functional.linear(x_BTD, gates_ID), inplace=True)
        return gated(gate_BTI, y_TBI)

    def _scanned(self, x_BTD: Tensor, rows_ID: Tensor, state: State | None) -> Tensor:
        """What the state gives each token, and what passes by it: [T, B, I] in float32."""
        past = carried(state, "attention.conv_state")
        inputs_BTI = convolved(x_BTD, rows_ID, self.conv, self.conv_bias, past)
        dt_TBI, keys_TBn, queries_TBn = self._chosen(inputs_BTI)
        inputs_TBI = token_major(inputs_BTI)[0]
        del inputs_BTI
        values_TBI = inputs_TBI * dt_TBI
        kept = started(state, "attention.ssm_state", self.state_shape, x_BTD)
        by_channel = by_head(values_TBI, 1, self.spec.inner)
        write_and_read(kept, Steps(self._decays(dt_TBI), keys_TBn, queries_TBn, by_channel))
        return values_TBI.addcmul_(inputs_TBI, self.d.float())

    def _chosen(self, inputs_BTI: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What each token chooses by its input: time steps [T, B, I], B and C [T, B, n], in float32."""
        dt_BTr, b_BTn, c_BTn = self._parts(functional.linear(inputs_BTI, self.x))
        dt_TBI = token_major(functional.linear(dt_BTr, self.dt))[0].add_(self.dt_bias.float())
        return functional.softplus(dt_TBI), token_major(b_BTn)[0], token_major(c_BTn)[0]

    def _parts(self, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Time steps before their expansion, B and C, normed where the spec says so."""
        rank, state = self.spec.dt_rank, self.spec.state
        dt, b, c = chosen[..., :rank], chosen[..., rank:-state], chosen[..., -state:]
        if not self.spec.inner_norms:
            return dt, b, c
        eps = self.norm.eps
        return rms(dt, self.dt_norm, eps), rms(b, self.b_norm, eps), rms(c, self.c_norm, eps)

    def _decays(self, dt_TBI: Tensor) -> Iterator[Tensor]:
        """Each token's decay of each element of the state, [B, n, 1, I]: all tokens' would not fit."""
        rates_nI = self.a_log.float().exp().neg_().t().contiguous()
        decay_BnI = dt_TBI.new_empty((dt_TBI.shape[1], *rates_nI.shape))
        seen_Bn1I = decay_BnI.unsqueeze(2)
        for dt_B1I in dt_TBI.unsqueeze(2).unbind(0):
            torch.mul(dt_B1I, rates_nI, out=decay_BnI).exp_()
            yield seen_Bn1I

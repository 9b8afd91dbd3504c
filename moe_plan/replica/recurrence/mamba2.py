"""State space duality (Mamba-2, arXiv 2405.21060): z, x, B, C and dt from one input, a gated norm at the end.

Rows of `in_zxdt`: gates (z), inputs (x), time steps (dt); of `in_bc` and of its convolution: B, then C. The
norm is over the channels of one group, after the gate, as in Nemotron-H and Granite 4.

Widest moment of a prefill of one sequence in float32, beside input, cache and state: the inputs are
convolved. Beside their projection and joined form, (2 T + P) x I, there live B and C, 2 x T x (G x n), and
time steps and decays, 2 x T x H. While the state is scanned it is nearly as much: the inputs, and these by
their time steps. In a narrow type, or for several sequences, float32 copies take the places of what is
scanned, and the inputs live beside their copy while that is made. Without a state, one of zeros lives from
before the scan to its end.

Legend: B sequences, T new tokens, D hidden, G groups, R heads of a group, H = G x R heads, p width of a head,
I = H x p inner channels, n elements of a channel's state, P inputs that a convolution carries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from moe_plan.replica.mixer import Mixer
from moe_plan.replica.recurrence.conv import conv_state, convolved
from moe_plan.replica.recurrence.gate import rms_in_place
from moe_plan.replica.recurrence.scan import (
    Steps,
    by_head,
    carried,
    parted,
    started,
    token_major,
    write_and_read,
)
from moe_plan.replica.store import Fixed, State

if TYPE_CHECKING:
    from torch import Tensor

    from moe_plan.replica.call import Call
    from moe_plan.spec.attention import Mamba2
    from moe_plan.spec.model import Norm


class Mamba2Mixer(Mixer):
    """The mixer of Nemotron-H and Granite 4: one decay for each head, B and C for each group."""

    in_zxdt: Tensor
    in_bc: Tensor
    conv_x: Tensor
    conv_x_bias: Tensor | None
    conv_bc: Tensor
    conv_bc_bias: Tensor | None
    dt_bias: Tensor
    a_log: Tensor
    d: Tensor
    out_norm: Tensor
    o: Tensor

    def __init__(self, spec: Mamba2, hidden: int, norm: Norm) -> None:
        super().__init__()
        self.spec, self.norm = spec, norm
        self.inner = inner = spec.heads * spec.head_dim
        self.shared = spec.heads // spec.groups
        both = 2 * spec.groups * spec.state
        self.declare("in_zxdt", 2 * inner + spec.heads, hidden)
        self.declare("in_bc", both, hidden)
        for name, channels in (("conv_x", inner), ("conv_bc", both)):
            self.declare(name, channels, 1, spec.conv)
            if spec.conv_bias:
                self.declare(f"{name}_bias", channels, start="vector")
            else:
                setattr(self, f"{name}_bias", None)
        self.declare("dt_bias", spec.heads, start="vector")
        self.declare("a_log", spec.heads, start="decay")
        self.declare("d", spec.heads, start="norm")
        self.declare("out_norm", inner, start="norm")
        self.declare("o", hidden, inner)
        self.state_shape = (spec.groups, spec.state, self.shared * spec.head_dim)

    def state(self, batch: int, capacity: int, like: Tensor) -> State:  # noqa: ARG002  of fixed size
        """The state [B, G, n, R x p] in float32, and the last inputs of both convolutions."""
        return {
            "attention.ssm_state": Fixed(batch, self.state_shape, torch.float32, like.device),
            "attention.conv_x_state": conv_state(batch, self.inner, self.spec.conv, like),
            "attention.conv_bc_state": conv_state(batch, self.conv_bc.shape[0], self.spec.conv, like),
        }

    def forward(self, x_BTD: Tensor, state: State | None, call: Call) -> Tensor:  # noqa: ARG002  as every mixer
        """Output of the mixer for the new tokens, [B, T, D]."""
        return functional.linear(self._mixed(x_BTD, state), self.o)

    def _mixed(self, x_BTD: Tensor, state: State | None) -> Tensor:
        """The state's answers, gated, then normed by group: [B, T, I]."""
        y_TBI = self._scanned(x_BTD, state)
        gate_BTI = functional.silu(functional.linear(x_BTD, self.in_zxdt[: self.inner]), inplace=True)
        y_BTI = gate_BTI.float().mul_(y_TBI.transpose(0, 1))
        del gate_BTI, y_TBI
        rms_in_place(parted(y_BTI, self.spec.groups, -1), self.norm.eps)
        return y_BTI.mul_(self.out_norm.float()).to(x_BTD.dtype)

    def _scanned(self, x_BTD: Tensor, state: State | None) -> Tensor:
        """What the state gives each token, and what passes by it: [T, B, I] in float32."""
        spec = self.spec
        b_TBC, c_TBC = self._keys_and_queries(x_BTD, state).unbind(0)
        dt_TBH = token_major(functional.linear(x_BTD, self.in_zxdt[2 * self.inner :]))[0]
        dt_TBH = functional.softplus(dt_TBH.add_(self.dt_bias.float()))
        decays_TBH = (dt_TBH * -self.a_log.float().exp()).exp_()
        past = carried(state, "attention.conv_x_state")
        rows_ID = self.in_zxdt[self.inner : 2 * self.inner]
        inputs_TBI = token_major(convolved(x_BTD, rows_ID, self.conv_x, self.conv_x_bias, past))[0]
        inputs_TBHp = parted(inputs_TBI, spec.heads, -1)
        values_TBHp = inputs_TBHp * dt_TBH[..., None]
        values_TBI = values_TBHp.flatten(2)
        steps = Steps(
            by_head(decays_TBH, 1, self.shared, 1).unbind(0),
            by_head(b_TBC, spec.state),
            by_head(c_TBC, spec.state),
            by_head(values_TBI, self.shared, spec.head_dim),
        )
        write_and_read(started(state, "attention.ssm_state", self.state_shape, x_BTD), steps)
        values_TBHp.addcmul_(inputs_TBHp, self.d.float()[:, None])
        return values_TBI

    def _keys_and_queries(self, x_BTD: Tensor, state: State | None) -> Tensor:
        """B and C of each group, [2, T, B, G x n] in float32."""
        past = carried(state, "attention.conv_bc_state")
        return token_major(convolved(x_BTD, self.in_bc, self.conv_bc, self.conv_bc_bias, past), 2)

"""Gated delta rules: Gated DeltaNet (arXiv 2412.06464) and Kimi Delta Attention (arXiv 2510.26692).

Rows of the fused projections: `in_qk` queries then keys, each by key head; `in_vz` values then gates, `in_ba`
write strengths (b) then decays (a), each by value head; `conv` queries, keys, values. Value head i uses key
head i // R.

Widest moment of a prefill of one sequence in float32, beside input, cache and state: the values are
convolved. Beside the values' projection and joined inputs, (2 T + P) x V, there live queries and keys, 2 x T
x (G x K), and for each value head a decay (KDA: for each channel) and a write strength, with GatedDelta also
the `a` that the decay was made of. In a narrow type float32 copies of what is scanned take the places of
queries, keys and values; for several sequences they are copied too, and the original lives beside its copy
while that is made. Without a state, one of zeros lives from before the scan to its end.

Legend: B sequences, T new tokens, D hidden, G key heads, N = B x G, R value heads of a key head, K width of a
key, e width of a value, E = R x e, V = G x E, P inputs that a convolution carries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from moe_plan.replica.mixer import Mixer
from moe_plan.replica.recurrence.conv import conv_state, convolved
from moe_plan.replica.recurrence.gate import decay_in_place, gated, rms_in_place, unit_in_place
from moe_plan.replica.recurrence.scan import Steps, by_head, carried, delta_rule, parted, started, token_major
from moe_plan.replica.store import Fixed, State

if TYPE_CHECKING:
    from torch import Tensor

    from moe_plan.replica.call import Call
    from moe_plan.spec.attention import GatedDelta, KimiDelta
    from moe_plan.spec.model import Norm

UNIT_EPS = 1e-6
"""Of the norm that makes queries and keys unit vectors, in both models' own code."""


class GatedDeltaMixer(Mixer):
    """Qwen3-Next's mixer: one decay and one write strength for each value head."""

    in_qk: Tensor
    in_vz: Tensor
    in_ba: Tensor
    conv_qk: Tensor
    conv_v: Tensor
    dt_bias: Tensor
    a_log: Tensor
    out_norm: Tensor
    o: Tensor

    def __init__(self, spec: GatedDelta, hidden: int, norm: Norm) -> None:
        super().__init__()
        self.spec, self.norm = spec, norm
        self.shared = spec.value_heads // spec.key_heads
        self.width = spec.value_heads * spec.value_dim
        key_width = spec.key_heads * spec.key_dim
        self.declare("in_qk", 2 * key_width, hidden)
        self.declare("in_vz", 2 * self.width, hidden)
        self.declare("in_ba", 2 * spec.value_heads, hidden)
        self.declare("conv_qk", 2 * key_width, 1, spec.conv)
        self.declare("conv_v", self.width, 1, spec.conv)
        self.declare("dt_bias", spec.value_heads, start="vector")
        self.declare("a_log", spec.value_heads, start="decay")
        self.declare("out_norm", spec.value_dim, start="norm")
        self.declare("o", hidden, self.width)
        self.state_shape = (spec.key_heads, spec.key_dim, self.shared * spec.value_dim)

    def state(self, batch: int, capacity: int, like: Tensor) -> State:  # noqa: ARG002  of fixed size
        """The recurrent state [B, G, K, E] in float32, and the last inputs of both convolutions."""
        return {
            "attention.recurrent_state": Fixed(batch, self.state_shape, torch.float32, like.device),
            "attention.conv_qk_state": conv_state(batch, self.conv_qk.shape[0], self.spec.conv, like),
            "attention.conv_v_state": conv_state(batch, self.width, self.spec.conv, like),
        }

    def forward(self, x_BTD: Tensor, state: State | None, call: Call) -> Tensor:  # noqa: ARG002  as every mixer
        """Output of the mixer for the new tokens, [B, T, D]."""
        return functional.linear(self._mixed(x_BTD, state), self.o)

    def _mixed(self, x_BTD: Tensor, state: State | None) -> Tensor:
        """The state's answers, normed by head and gated: [B, T, H x e]."""
        y_TBC = self._scanned(x_BTD, state)
        y_TBHe = rms_in_place(parted(y_TBC, -1, self.spec.value_dim), self.norm.eps)
        y_TBHe.mul_(self.out_norm.float())
        gate_BTC = functional.silu(functional.linear(x_BTD, self.in_vz[self.width :]), inplace=True)
        return gated(gate_BTC, y_TBC)

    def _scanned(self, x_BTD: Tensor, state: State | None) -> Tensor:
        """What the state gives each token, [T, B, H x e] in float32."""
        spec = self.spec
        strengths_TBH, dt_TBH = token_major(functional.linear(x_BTD, self.in_ba), 2).unbind(0)
        decays_TBH = decay_in_place(dt_TBH, self.dt_bias, self.a_log)
        queries_TBC, keys_TBC = self._queries_and_keys(x_BTD, state).unbind(0)
        past = carried(state, "attention.conv_v_state")
        values_TBC = token_major(convolved(x_BTD, self.in_vz[: self.width], self.conv_v, None, past))[0]
        steps = Steps(
            by_head(decays_TBH, 1, self.shared, 1).unbind(0),
            by_head(keys_TBC, spec.key_dim),
            by_head(queries_TBC, spec.key_dim),
            by_head(values_TBC, self.shared, spec.value_dim),
        )
        kept = started(state, "attention.recurrent_state", self.state_shape, x_BTD)
        delta_rule(kept, steps, by_head(strengths_TBH.sigmoid_(), self.shared, 1))
        return values_TBC

    def _queries_and_keys(self, x_BTD: Tensor, state: State | None) -> Tensor:
        """Both as unit vectors, queries scaled: [2, T, B, G x K] in float32."""
        past = carried(state, "attention.conv_qk_state")
        both = token_major(convolved(x_BTD, self.in_qk, self.conv_qk, None, past), 2)
        unit_in_place(parted(both, -1, self.spec.key_dim), UNIT_EPS)
        both[0].mul_(self.spec.key_dim**-0.5)
        return both


class KimiDeltaMixer(Mixer):
    """Kimi Linear's mixer: a decay for each channel of a key, gates of low rank."""

    q: Tensor
    k: Tensor
    v: Tensor
    conv: Tensor
    f_a: Tensor
    f_b: Tensor
    g_a: Tensor
    g_b: Tensor
    beta: Tensor
    dt_bias: Tensor
    a_log: Tensor
    out_norm: Tensor
    o: Tensor

    def __init__(self, spec: KimiDelta, hidden: int, norm: Norm) -> None:
        super().__init__()
        self.spec, self.norm = spec, norm
        self.width = spec.heads * spec.head_dim
        for name in ("q", "k", "v"):
            self.declare(name, self.width, hidden)
        self.declare("conv", 3 * self.width, 1, spec.conv)
        for name in ("f", "g"):
            self.declare(f"{name}_a", spec.head_dim, hidden)
            self.declare(f"{name}_b", self.width, spec.head_dim)
        self.declare("beta", spec.heads, hidden)
        self.declare("dt_bias", self.width, start="vector")
        self.declare("a_log", spec.heads, start="decay")
        self.declare("out_norm", spec.head_dim, start="norm")
        self.declare("o", hidden, self.width)
        self.state_shape = (spec.heads, spec.head_dim, spec.head_dim)

    def state(self, batch: int, capacity: int, like: Tensor) -> State:  # noqa: ARG002  of fixed size
        """The recurrent state [B, H, K, K] in float32, and the last inputs of the convolution."""
        return {
            "attention.recurrent_state": Fixed(batch, self.state_shape, torch.float32, like.device),
            "attention.conv_state": conv_state(batch, 3 * self.width, self.spec.conv, like),
        }

    def forward(self, x_BTD: Tensor, state: State | None, call: Call) -> Tensor:  # noqa: ARG002  as every mixer
        """Output of the mixer for the new tokens, [B, T, D]."""
        return functional.linear(self._mixed(x_BTD, state), self.o)

    def _mixed(self, x_BTD: Tensor, state: State | None) -> Tensor:
        """The state's answers, normed by head and gated: [B, T, H x K]."""
        y_TBC = self._scanned(x_BTD, state)
        y_TBHe = rms_in_place(parted(y_TBC, -1, self.spec.head_dim), self.norm.eps)
        y_TBHe.mul_(self.out_norm.float())
        gate_BTC = functional.linear(functional.linear(x_BTD, self.g_a), self.g_b).sigmoid_()
        return gated(gate_BTC, y_TBC)

    def _scanned(self, x_BTD: Tensor, state: State | None) -> Tensor:
        """What the state gives each token, [T, B, H x K] in float32."""
        width = self.spec.head_dim
        dt_TBC = token_major(functional.linear(functional.linear(x_BTD, self.f_a), self.f_b))[0]
        decays_TBC = decay_in_place(dt_TBC, self.dt_bias, self.a_log.repeat_interleave(width))
        del dt_TBC
        strengths_TBH = token_major(functional.linear(x_BTD, self.beta))[0].sigmoid_()
        queries_TBC, keys_TBC = (self._unit(x_BTD, state, index) for index in (0, 1))
        queries_TBC.mul_(width**-0.5)
        values_TBC = self._convolved(x_BTD, state, 2)
        steps = Steps(
            by_head(decays_TBC, width, 1, 1).unbind(0),
            by_head(keys_TBC, width),
            by_head(queries_TBC, width),
            by_head(values_TBC, 1, width),
        )
        kept = started(state, "attention.recurrent_state", self.state_shape, x_BTD)
        delta_rule(kept, steps, by_head(strengths_TBH, 1, 1))
        return values_TBC

    def _unit(self, x_BTD: Tensor, state: State | None, index: int) -> Tensor:
        """Queries or keys as unit vectors, [T, B, H x K] in float32."""
        x_TBC = self._convolved(x_BTD, state, index)
        unit_in_place(parted(x_TBC, -1, self.spec.head_dim), UNIT_EPS)
        return x_TBC

    def _convolved(self, x_BTD: Tensor, state: State | None, index: int) -> Tensor:
        """Queries, keys or values, by `index`: [T, B, H x K] in float32."""
        channels = slice(index * self.width, (index + 1) * self.width)
        past = carried(state, "attention.conv_state")
        past = None if past is None else past[..., channels]
        projection = (self.q, self.k, self.v)[index]
        return token_major(convolved(x_BTD, projection, self.conv[channels], None, past))[0]

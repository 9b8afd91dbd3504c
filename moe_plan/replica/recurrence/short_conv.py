"""Gated short convolution (LFM2): a depthwise causal convolution between two gates.

Rows of `in`: the gates before the convolution (B), those after it (C), and what is gated (x).

Widest moment of a prefill, beside input and cache: the gated inputs and their joined form, then this and the
convolved ones, B x (2 T + P) x D.

Legend: B sequences, T new tokens, D hidden, P inputs that the convolution carries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

from moe_plan.replica.mixer import Mixer
from moe_plan.replica.recurrence.conv import conv_state, depthwise, join
from moe_plan.replica.recurrence.scan import carried

if TYPE_CHECKING:
    from torch import Tensor

    from moe_plan.replica.call import Call
    from moe_plan.replica.store import State
    from moe_plan.spec.attention import ShortConv
    from moe_plan.spec.model import Norm


class ShortConvMixer(Mixer):
    """LFM2's mixer: it remembers the last inputs of its convolution and nothing else."""

    conv: Tensor
    o: Tensor

    def __init__(self, spec: ShortConv, hidden: int, norm: Norm) -> None:  # noqa: ARG002  as every mixer
        super().__init__()
        self.spec = spec
        self.declare("in", 3 * hidden, hidden)
        self.declare("conv", hidden, 1, spec.taps)
        self.declare("o", hidden, hidden)

    def state(self, batch: int, capacity: int, like: Tensor) -> State:  # noqa: ARG002  of fixed size
        """The last inputs of the convolution."""
        return {"attention.conv_state": conv_state(batch, self.conv.shape[0], self.spec.taps, like)}

    def forward(self, x_BTD: Tensor, state: State | None, call: Call) -> Tensor:  # noqa: ARG002  as every mixer
        """Output of the mixer for the new tokens, [B, T, D]."""
        rows: Tensor = getattr(self, "in")
        before_DD, after_DD, input_DD = rows.chunk(3)
        gated = functional.linear(x_BTD, input_DD).mul_(functional.linear(x_BTD, before_DD))
        joined = join(gated, self.spec.taps, carried(state, "attention.conv_state"))
        del gated
        y_BTD = depthwise(joined, self.conv)
        del joined
        y_BTD.mul_(functional.linear(x_BTD, after_DD))
        return functional.linear(y_BTD, self.o)

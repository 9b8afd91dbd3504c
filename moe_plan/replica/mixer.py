"""What every attention kind and recurrence of the replica offers to a layer."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from moe_plan.replica.block import Block

if TYPE_CHECKING:
    from torch import Tensor

    from moe_plan.replica.call import Call
    from moe_plan.replica.store import State


class Mixer(Block):
    """A block that mixes tokens of a sequence."""

    owner = "attention"

    @abstractmethod
    def state(self, batch: int, capacity: int, like: Tensor) -> State:
        """Empty cache of `batch` sequences with room for `capacity` tokens; `like` gives device and type."""

    @abstractmethod
    def forward(self, x_BTD: Tensor, state: State | None, call: Call) -> Tensor:
        """Output of the block for the new tokens, [B, T, D]; `state` is extended in place."""

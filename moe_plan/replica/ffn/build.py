"""From a feed-forward block of a spec to the module that runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from moe_plan.replica.ffn.dense import Dense
from moe_plan.replica.ffn.moe import Moe

if TYPE_CHECKING:
    from moe_plan.spec.ffn import AnyFfn
    from moe_plan.spec.model import Norm


def feed_forward(spec: AnyFfn, hidden: int, vocab: int, norm: Norm) -> Dense | Moe:
    """The module of one feed-forward block over `hidden` inputs; `vocab` sizes a table by token id."""
    match spec.kind:
        case "dense":
            return Dense(spec, hidden, spec.width, bias=spec.bias)
        case "moe":
            return Moe(spec, hidden, vocab, norm)
        case _:
            assert_never(spec)

"""One softmax over several sets of vectors that are keys and values at once, and over a sink.

Legend: B sequences, b queries of a block, H heads, d width of a vector, S vectors of a set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from moe_plan.replica.labels import named

if TYPE_CHECKING:
    from torch import Tensor


class Part(NamedTuple):
    """One set of vectors that a block of queries looks at."""

    vectors_BSd: Tensor
    mask: Tensor | None
    """True where a query must not look: [b, S], or [B, b, S]."""
    suffix: str
    """Of the names of its operations: `attention.scores`, `attention.mix`."""


def attend_to(parts: list[Part], query_BbHd: Tensor, sinks_H: Tensor | None) -> Tensor:
    """Mixed vectors of a block of scaled queries, [B, b, H, d]."""
    batch, block, heads, width = query_BbHd.shape
    scores: list[Tensor] = []
    for part in parts:
        with named(f"attention.scores{part.suffix}"):
            scores.append(torch.bmm(query_BbHd.flatten(1, 2), part.vectors_BSd.transpose(1, 2)))
        if part.mask is not None:
            by_head = scores[-1].view(batch, block, heads, -1)
            by_head.masked_fill_(part.mask.unsqueeze(-2), float("-inf"))
            del by_head
    weights = softmax_of_all(scores, None if sinks_H is None else sinks_H.repeat(block)[:, None])
    mixed = query_BbHd.new_zeros((batch, block * heads, width))
    for part in parts:
        with named(f"attention.mix{part.suffix}"):
            mixed.baddbmm_(weights.pop(0), part.vectors_BSd)
    return mixed.view(query_BbHd.shape)


def softmax_of_all(scores: list[Tensor], sinks: Tensor | None) -> list[Tensor]:
    """Softmax over the last dimension of all tensors together and of a sink; `scores` is emptied.

    In float32, and in place on scores of that type. The sink takes weight and gives no value.
    """
    dtype = scores[0].dtype
    wide = [part.float() for part in scores]
    scores.clear()
    highest = wide[0].amax(-1, keepdim=True)
    for part in wide[1:]:
        highest = torch.maximum(highest, part.amax(-1, keepdim=True))
    total = torch.zeros_like(highest)
    if sinks is not None:
        highest = torch.maximum(highest, sinks)
        total.add_(sinks.float().sub(highest).exp_())
    for part in wide:
        total.add_(part.sub_(highest).exp_().sum(-1, keepdim=True))
    return [part.div_(total).to(dtype) for part in wide]

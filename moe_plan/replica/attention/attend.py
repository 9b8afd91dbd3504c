"""Softmax attention over what each token may see, a block of queries at a time, so that memory stays small.

Legend: N sequences x key-value heads, R query heads of one key-value head, T new tokens, S keys,
d width of a key, e width of a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from moe_plan.replica.attention.parts import softmax_of_all
from moe_plan.replica.labels import named

if TYPE_CHECKING:
    from torch import Tensor


class Visible(NamedTuple):
    """Which positions a token sees: its window, its chunk, everything before it, or everything."""

    window: int | None = None
    chunk: int | None = None
    causal: bool = True

    def low(self, position: int) -> int:
        """First position that the token at `position` sees."""
        if self.window is not None:
            return max(0, position - self.window + 1)
        return position // self.chunk * self.chunk if self.chunk is not None else 0

    def mask(self, queries: range, keys: range, device: torch.device) -> Tensor | None:
        """True where a query must not look, [queries, keys]; None where every query sees every key."""
        if not self.causal or len(queries) == 1:
            return None
        query = torch.arange(queries.start, queries.stop, device=device)[:, None]
        key = torch.arange(keys.start, keys.stop, device=device)
        hidden = key > query
        if self.window is not None:
            hidden |= key <= query - self.window
        elif self.chunk is not None:
            hidden |= key < query // self.chunk * self.chunk
        return hidden


class Scoring(NamedTuple):
    """How scores are made and what is done to them before they weigh values."""

    scale: float
    softcap: float | None = None
    sinks_NR: Tensor | None = None
    """One more logit per head, which takes weight and gives no value."""
    bias_NRTS: Tensor | None = None
    """Added to the scores: relative positions."""
    names: tuple[str, str] = ("attention.scores", "attention.mix")


class Keys(NamedTuple):
    """Keys and values, the first of which stands at position `first`."""

    keys_NSd: Tensor
    values_NSe: Tensor
    first: int = 0


class Asking(NamedTuple):
    """Where the new tokens stand, and how many of them are handled at once."""

    start: int
    block: int


def attend(q_NRTd: Tensor, seen: Keys, asking: Asking, visible: Visible, scoring: Scoring) -> Tensor:
    """Attention of the new tokens over `seen`: [N, R, T, e].

    At most `asking.block` queries at once. Keys that none of them sees are left out, so that a block of one
    computes exactly the scores that causality, window and chunk leave.
    """
    start, block = asking
    groups, heads, tokens, _ = q_NRTd.shape
    keys, width = seen.keys_NSd.shape[1], seen.values_NSe.shape[2]
    out_NRTe = q_NRTd.new_empty((groups, heads, tokens, width))
    for first in range(0, tokens, block):
        last = min(first + block, tokens)
        low, high = 0, keys
        if visible.causal and tokens > 1:
            low, high = visible.low(start + first) - seen.first, start + last - seen.first
        out_NRTe[:, :, first:last] = _block(
            q_NRTd[:, :, first:last],
            Keys(seen.keys_NSd[:, low:high], seen.values_NSe[:, low:high], seen.first + low),
            start + first,
            visible,
            scoring if scoring.bias_NRTS is None else _cut(scoring, first, last, low, high),
        )
    return out_NRTe


def _cut(scoring: Scoring, first: int, last: int, low: int, high: int) -> Scoring:
    assert scoring.bias_NRTS is not None
    return scoring._replace(bias_NRTS=scoring.bias_NRTS[:, :, first:last, low:high])


def _block(q_NRbd: Tensor, seen: Keys, start: int, visible: Visible, scoring: Scoring) -> Tensor:
    groups, heads, tokens, width = q_NRbd.shape
    keys = seen.keys_NSd.shape[1]
    with named(scoring.names[0]):
        flat = q_NRbd.reshape(groups, heads * tokens, width)
        scores = torch.bmm(flat, seen.keys_NSd.transpose(1, 2)).view(groups, heads, tokens, keys)
    scores.mul_(scoring.scale)
    if scoring.softcap is not None:
        scores.div_(scoring.softcap).tanh_().mul_(scoring.softcap)
    if scoring.bias_NRTS is not None:
        scores.add_(scoring.bias_NRTS)
    queries = range(start, start + tokens)
    mask = visible.mask(queries, range(seen.first, seen.first + keys), scores.device)
    if mask is not None:
        scores.masked_fill_(mask, float("-inf"))
    del mask
    held = [scores]
    del scores
    weights = _softmax(held, scoring.sinks_NR)
    with named(scoring.names[1]):
        mixed = torch.bmm(weights.view(groups, heads * tokens, keys), seen.values_NSe)
    return mixed.view(groups, heads, tokens, -1)


def _softmax(scores: list[Tensor], sinks_NR: Tensor | None) -> Tensor:
    """Softmax over keys, in float32, of the one tensor [N, R, T, S] that `scores` holds, and is emptied of.

    A sink takes its share and is dropped; in place then, on scores in float32.
    """
    if sinks_NR is not None:
        return softmax_of_all(scores, sinks_NR[:, :, None, None])[0]
    dtype = scores[0].dtype
    return torch.softmax(scores.pop(), dim=-1, dtype=torch.float32).to(dtype)

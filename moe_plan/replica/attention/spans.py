"""A forward's new tokens, a block of queries at a time, and what each block may look at.

Legend: B sequences, b queries of a block, E entries of `ratio` tokens each (keys, where the ratio is 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor


class Span(NamedTuple):
    """New tokens `first` to `last` - 1 of a forward whose first new token stands at `start`."""

    start: int
    first: int
    last: int

    @property
    def positions(self) -> range:
        """Where its queries stand in the sequence."""
        return range(self.start + self.first, self.start + self.last)

    def entries(self, ratio: int = 1) -> int:
        """Entries that are complete when its last query is asked."""
        return (self.start + self.last) // ratio

    def unseen(self, ratio: int, device: torch.device) -> Tensor | None:
        """True where an entry is not yet complete for a query, [b, E]; None for a single query."""
        if self.last - self.first == 1:
            return None
        complete = torch.arange(self.positions.start + 1, self.positions.stop + 1, device=device)
        if ratio > 1:
            complete = complete.div_(ratio, rounding_mode="floor")
        return torch.arange(self.entries(ratio), device=device) >= complete[:, None]


def spans(start: int, tokens: int, block: int) -> Iterator[Span]:
    """Blocks of at most `block` queries that cover `tokens` new tokens."""
    return (Span(start, first, min(first + block, tokens)) for first in range(0, tokens, block))


def looked_at(
    held: Sequence[Tensor], span: Span, chosen_Bbk: Tensor | None, ratio: int = 1
) -> tuple[list[Tensor], Tensor | None]:
    """Those of the `held` entries [N, E, ...] that a block looks at, and a mask: True where a query must not.

    A single query is given just the entries that it has chosen; several are given all, and a mask, [b, E] or
    where each has chosen [B, b, E]. N is B, or a multiple where entries are held for every head.
    """
    entries = span.entries(ratio)
    complete = [each[:, :entries] for each in held]
    unseen_bE = span.unseen(ratio, held[0].device)
    if chosen_Bbk is None:
        return complete, unseen_bE
    if unseen_bE is None:
        places = chosen_Bbk.transpose(1, 2).repeat(held[0].shape[0] // chosen_Bbk.shape[0], 1, 1)
        return [each.gather(1, places.expand(-1, -1, each.shape[2])) for each in complete], None
    left_out = chosen_Bbk.new_ones((*chosen_Bbk.shape[:2], entries), dtype=torch.bool)
    return complete, left_out.scatter_(2, chosen_Bbk, value=False).logical_or_(unseen_bE)

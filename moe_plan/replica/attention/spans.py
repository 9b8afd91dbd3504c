"""A forward's new tokens, a block of queries at a time, and what each block may look at.

Legend: B sequences, b queries of a block, E entries of `ratio` tokens each (keys, where the ratio is 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        """True where an entry is not yet complete for a query, [b, E]; None for a single one, which sees all."""
        if self.last - self.first == 1:
            return None
        complete = torch.arange(self.positions.start + 1, self.positions.stop + 1, device=device)
        if ratio > 1:
            complete = complete.div_(ratio, rounding_mode="floor")
        return torch.arange(self.entries(ratio), device=device) >= complete[:, None]


def spans(start: int, tokens: int, block: int) -> Iterator[Span]:
    """Blocks of at most `block` queries that cover `tokens` new tokens."""
    return (Span(start, first, min(first + block, tokens)) for first in range(0, tokens, block))


def hidden(unseen_bE: Tensor | None, chosen_Bbk: Tensor | None, entries: int) -> Tensor | None:
    """True where a query must not look, [b, E], or [B, b, E] if each chose k entries; None for nowhere."""
    if chosen_Bbk is None:
        return unseen_bE
    left_out = chosen_Bbk.new_ones((*chosen_Bbk.shape[:2], entries), dtype=torch.bool)
    left_out.scatter_(2, chosen_Bbk, value=False)
    return left_out if unseen_bE is None else left_out.logical_or_(unseen_bE)


def picked(entries_BEd: Tensor, chosen_B1k: Tensor) -> Tensor:
    """The entries that a single query has chosen, [B, k, d]."""
    places = chosen_B1k.transpose(1, 2).expand(-1, -1, entries_BEd.shape[2])
    return entries_BEd.gather(1, places)

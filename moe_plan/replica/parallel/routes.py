"""Which token goes to which rank, and which row belongs to which expert there. Nothing is exchanged here.

Legend: E experts, R ranks, N rows (a token and one of its experts) of this rank's tokens, M rows of this
rank's experts, F experts of this rank.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from moe_plan.replica.ffn.dispatch import Dispatch


class Outgoing(NamedTuple):
    """What this rank sends."""

    tokens: list[Tensor]
    """For each rank the tokens that go there, ascending, each once."""
    places_N: Tensor
    """For each row, sorted by expert and token, the place of its token among those; int32."""
    rows: list[int]
    """Rows of each rank."""
    header: Tensor
    """For each rank the rows of each of its experts and then the number of tokens: [E + R] int32."""

    @property
    def token_counts(self) -> list[int]:
        """Tokens that go to each rank."""
        return [len(tokens) for tokens in self.tokens]


class Incoming(NamedTuple):
    """What this rank receives, from the headers of all ranks."""

    tokens: list[int]
    """Tokens of each rank."""
    rows: list[int]
    """Rows of each rank."""
    counts: list[list[int]]
    """For each rank its rows of each of this rank's experts: [R][F]."""


class Order(NamedTuple):
    """How rows as they arrive, by rank, expert and token, become rows by expert, rank and token."""

    counts: tuple[int, ...]
    """Rows of each of this rank's experts, of all ranks."""
    arrived_M: Tensor
    """In the order of computing, where each row stands as it arrived."""
    first_M: Tensor
    """For each row as it arrived, the first token of its rank."""


def outgoing(plan: Dispatch, bounds: tuple[int, ...]) -> Outgoing:
    """What goes where, of rows that are sorted by expert and token; `bounds` as in `ownership.bounds`."""
    rows = [sum(plan.counts[first:last]) for first, last in pairwise(bounds)]
    tokens, places, header = [], [], []
    for token_n, (first, last) in zip(plan.token_N.split_with_sizes(rows), pairwise(bounds), strict=True):
        distinct, place_n = torch.unique(token_n, return_inverse=True)
        tokens.append(distinct)
        places.append(place_n.int())
        header += [*plan.counts[first:last], len(distinct)]
    return Outgoing(tokens, torch.cat(places), rows, torch.tensor(header, dtype=torch.int32))


def incoming(headers: list[list[int]]) -> Incoming:
    """What comes from where, of the headers [R][F + 1] that ranks sent to this one."""
    counts = [header[:-1] for header in headers]
    return Incoming([header[-1] for header in headers], [sum(of_rank) for of_rank in counts], counts)


def order_of(into: Incoming, device: torch.device) -> Order:
    """The order in which one process that holds all tokens computes the rows of these experts."""
    counts_RF = torch.tensor(into.counts, dtype=torch.int64, device=device)
    ranks, experts = counts_RF.shape
    expert_M = torch.arange(experts, device=device).repeat(ranks).repeat_interleave(counts_RF.flatten())
    firsts = [sum(into.tokens[:rank]) for rank in range(ranks)]
    first_M = torch.tensor(firsts, device=device).repeat_interleave(counts_RF.sum(1))
    return Order(tuple(counts_RF.sum(0).tolist()), expert_M.argsort(stable=True), first_M)

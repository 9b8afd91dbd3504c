"""How long the exchange takes here: equal shares of a few sizes, in turn, while nothing else is going on."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import torch

from moe_plan.replica.parallel.exchange import Exchange, Purpose

if TYPE_CHECKING:
    from moe_plan.replica.parallel.seat import Seat

_SIZES = (0, 1 << 10, 1 << 13, 1 << 16, 1 << 18, 1 << 20, 1 << 22)
"""Bytes to each rank."""
_FEWEST = 3
_PURPOSE = Purpose("calibration", "payload", "equal shares")


class Point(NamedTuple):
    """One size of exchange."""

    sent_bytes: int
    """By each rank to all others together."""
    seconds: float
    """Median over rounds, of this rank."""


class Calibration:
    """Rounds of exchanges, to be taken in turn with what they are to predict."""

    def __init__(self, seat: Seat, device: torch.device, largest_bytes: int) -> None:
        """Sizes up to the first of at least `largest_bytes` for each rank, the smaller ones always."""
        self._exchange = Exchange(seat, device)
        needed = next((index for index, size in enumerate(_SIZES) if size >= largest_bytes), len(_SIZES) - 1)
        self._sizes = _SIZES[: max(needed, _FEWEST) + 1]

    def round(self) -> None:
        """Exchange every size once."""
        exchange, ranks = self._exchange, self._exchange.seat.ranks
        for size in self._sizes:
            shares = [size] * ranks
            rows = torch.zeros((size * ranks, 1), dtype=torch.uint8, device=exchange.device)
            exchange.meet("meeting, calibration")
            exchange.all_to_all(rows, shares, shares, _PURPOSE)

    def points(self) -> tuple[Point, ...]:
        """Every size, over all rounds."""
        sizes, messages = len(self._sizes), self._exchange.messages
        of_size = [messages[index::sizes] for index in range(sizes)]
        return tuple(Point(of[0].sent_bytes, median(message.seconds for message in of)) for of in of_size)

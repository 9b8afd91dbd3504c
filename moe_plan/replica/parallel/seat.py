"""What a worker knows of its run. No torch here: a worker that needs none starts at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from moe_plan.replica.parallel.board import Board


class GroupError(Exception):
    """An exchange failed here, most likely because another rank is gone: a symptom, not the cause."""


class Seat(NamedTuple):
    """One rank of a run, and where the ranks meet."""

    rank: int
    ranks: int
    local_rank: int
    """Number of this rank on its machine: its CUDA device, where there are any."""
    address: str
    port: int
    meeting: str
    """Prefix of this run's keys in the store at `address`."""
    timeout_s: float
    board: Board

    def mark(self, doing: str) -> None:
        """Tell whoever watches that this rank enters its next step."""
        self.board.mark(self.rank, doing)

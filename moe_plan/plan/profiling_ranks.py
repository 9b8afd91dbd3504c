"""What a profile over ranks measured: bytes, rows, seconds of each rank; how they stand to prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.plan.verification import Check

if TYPE_CHECKING:
    from moe_plan.plan.ledger import Ledger


class Bytes(NamedTuple):
    """Bytes of one rank on the wire, all sparse layers together, as predicted or as counted."""

    sent: int
    """To all other ranks."""
    received: int


class Rank(NamedTuple):
    """One rank with one batch, all sparse layers together."""

    rank: int
    tokens: int
    rows: int
    """Rows that its experts computed."""
    predicted: Bytes
    measured: Bytes
    seconds: dict[str, float]
    """By phase: sort, dispatch, experts, combine, add, wait."""


class BatchOverRanks(NamedTuple):
    """One batch."""

    tokens: int
    ranks: tuple[Rank, ...]
    imbalance: float
    """Rows of the busiest rank over the mean of ranks, in the mean over layers."""
    is_exact: bool
    """Whether logits must be equal to one process's to the bit; else their difference is noted."""
    ledger: Ledger

    @property
    def check(self) -> Check:
        """The batch as a check, named in messages by its tokens."""
        return Check(f"{self.ledger.model}, {self.tokens:,} tokens", self.ledger)


class RanksProfile(NamedTuple):
    """Everything that was measured over ranks."""

    model: str
    scale: str
    kept: tuple[str, ...]
    """What the replica kept of the model, in plain sentences."""
    ranks: int
    backend: str
    device: str
    dtype: str
    machine: dict[str, str | int | None]
    versions: dict[str, str]
    batches: tuple[BatchOverRanks, ...]
    is_complete: bool = True

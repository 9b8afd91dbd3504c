"""Rows exchanged between all ranks, with every byte and second of it on record.

Legend: R ranks, N rows sent, M rows received, W width.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor, distributed

from moe_plan.replica.parallel.seat import GroupError

if TYPE_CHECKING:
    from moe_plan.replica.parallel.seat import Seat

Stage = Literal["dispatch", "combine", "calibration", "results"]
Content = Literal["metadata", "payload"]


class Purpose(NamedTuple):
    """What rows are exchanged for."""

    stage: Stage
    content: Content
    where: str
    """The layer, for messages."""


class Message(NamedTuple):
    """One exchange, as this rank sees it; bytes of rows that were handed to the collective."""

    stage: Stage
    content: Content
    sent_bytes: int
    """To other ranks."""
    received_bytes: int
    """From other ranks."""
    kept_bytes: int
    """Rows of this rank for itself, which touch no wire."""
    seconds: float


class Exchange:
    """All-to-all exchanges of one rank."""

    def __init__(self, seat: Seat, device: torch.device) -> None:
        self.seat, self.device = seat, device
        self.messages: list[Message] = []

    def all_to_all(self, rows_NW: Tensor, sends: list[int], receives: list[int], purpose: Purpose) -> Tensor:
        """[M, W]: `sends[r]` rows go to rank r, in order, and `receives[r]` come from it.

        Rows travel as bytes: gloo knows neither 16-bit integers nor 8-bit floats. Raises GroupError.
        """
        self.seat.mark(f"{purpose.stage} of {purpose.content}, {purpose.where}")
        sent_NB = rows_NW.contiguous().view(torch.uint8)
        received_MB = sent_NB.new_empty((sum(receives), sent_NB.shape[1]))
        start = self.clock()
        try:
            self._collective(received_MB, sent_NB, receives, sends)
            seconds = self.clock() - start
        except RuntimeError as error:
            raise GroupError(str(error)) from error
        out = self._bytes_by_rank(sent_NB, sends)
        into = self._bytes_by_rank(received_MB, receives)
        own = out.pop(self.seat.rank)
        into.pop(self.seat.rank)
        self.messages.append(Message(purpose.stage, purpose.content, sum(out), sum(into), own, seconds))
        return received_MB.view(rows_NW.dtype)

    def _collective(
        self, received_MB: Tensor, sent_NB: Tensor, receives: list[int], sends: list[int]
    ) -> None:
        distributed.all_to_all_single(received_MB, sent_NB, receives, sends)

    @staticmethod
    def _bytes_by_rank(rows_NB: Tensor, counts: list[int]) -> list[int]:
        return [rows.nbytes for rows in rows_NB.split_with_sizes(counts)]

    def meet(self, where: str) -> float:
        """Wait for all ranks; the seconds that it took."""
        self.seat.mark(where)
        start = self.clock()
        try:
            distributed.barrier(device_ids=None if self.device.index is None else [self.device.index])
        except RuntimeError as error:
            raise GroupError(str(error)) from error
        return self.clock() - start

    def most(self, count: int) -> int:
        """The largest `count` of any rank, on every rank."""
        counts = torch.tensor([count], device=self.device)
        try:
            distributed.all_reduce(counts, distributed.ReduceOp.MAX)
        except RuntimeError as error:
            raise GroupError(str(error)) from error
        return int(counts.item())

    def clock(self) -> float:
        """Seconds, once everything that was asked of the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return perf_counter()

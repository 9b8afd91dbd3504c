"""Ranks started here, or joined where torchrun or SLURM started them; watched until all have answered.

A rank that dies or hangs ends the run with ReplicaError, which names it. However this process ends, its
workers end with it.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from moe_plan.errors import ReplicaError, UnavailableError
from moe_plan.replica.parallel.assembly import take_part
from moe_plan.replica.parallel.blame import blame
from moe_plan.replica.parallel.environment import joined
from moe_plan.replica.parallel.watch import LOOPBACK, Task, watch

if TYPE_CHECKING:
    from collections.abc import Iterator


def launch(ranks: int, task: Task, timeout_s: float, threads: int = 1) -> list[Any]:
    """The results of `ranks` ranks, first rank first; on every rank of a group that torchrun or srun started.

    `threads` is the number of threads of each rank. Raises ReplicaError, which names the rank, where one
    dies, fails, or has not ended after `timeout_s` seconds; UsageError where the group that this process
    was started in has another size.
    """
    if os.name != "posix":
        message = f"ranks are started on Linux and macOS only, not on {sys.platform}"
        raise UnavailableError(message)
    place = joined(os.environ)
    if place is not None:
        return take_part(place, ranks, task, timeout_s, threads)
    with _store_of_our_own(timeout_s) as port:
        seats = [_seat(rank, ranks, port) for rank in range(ranks)]
        watched = watch(seats, task, timeout_s, threads)
    if len(watched.results) < ranks:
        raise ReplicaError(blame(watched.states, timeout_s, is_late=watched.is_late))
    return [watched.results[rank] for rank in range(ranks)]


def _seat(rank: int, ranks: int, port: int) -> dict[str, Any]:
    return {
        "rank": rank,
        "ranks": ranks,
        "local_rank": rank,
        "address": LOOPBACK,
        "port": port,
        "meeting": "ranks",
    }


@contextmanager
def _store_of_our_own(timeout_s: float) -> Iterator[int]:
    """Port of a store that ranks of this machine alone can reach, and that no rank takes away with it.

    The socket is bound first and handed over, so that nobody else can take the port in between.
    """
    with socket.create_server((LOOPBACK, 0)) as server:
        port: int = server.getsockname()[1]
        listening = os.dup(server.fileno())
    store = TCPStore(
        LOOPBACK,
        port,
        is_master=True,
        timeout=timedelta(seconds=timeout_s),
        wait_for_workers=False,
        master_listen_fd=listening,
    )
    try:
        yield port
    finally:
        # The port is free again when the last reference is gone.
        del store

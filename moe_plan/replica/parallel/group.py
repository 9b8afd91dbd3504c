"""The process group of a worker: gloo on CPUs, NCCL on CUDA devices."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import distributed
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from moe_plan.errors import ReplicaError
from moe_plan.replica.parallel.seat import GroupError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.replica.parallel.seat import Seat

_SPARE_SECONDS = 30.0
"""Whoever watches gives up first, and knows more; this is for ranks that nobody watches any more."""


def device_of(seat: Seat, kind: str) -> torch.device:
    """This rank's device. ReplicaError where there is no CUDA device for it."""
    if kind == "cpu":
        return torch.device("cpu")
    if kind != "cuda":
        message = f"ranks run on cpu or cuda, not on {kind}"
        raise ReplicaError(message)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if seat.local_rank >= count:
        message = f"rank {seat.rank} wants CUDA device {seat.local_rank}, and torch sees {count}"
        raise ReplicaError(message)
    return torch.device("cuda", seat.local_rank)


@contextmanager
def group(seat: Seat, device: torch.device) -> Iterator[None]:
    """Torch's default group of all ranks of the run. GroupError where they do not come together."""
    seat.mark("joining the group")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    timeout = timedelta(seconds=seat.timeout_s + _SPARE_SECONDS)
    try:
        store = TCPStore(seat.address, seat.port, is_master=False, timeout=timeout)
        distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=PrefixStore(f"{seat.meeting}/group", store),
            rank=seat.rank,
            world_size=seat.ranks,
            timeout=timeout,
        )
    except (RuntimeError, ValueError) as error:
        raise GroupError(str(error)) from error
    yield
    # After an error the other ranks may be gone: the process ends, and takes the group with it.
    distributed.destroy_process_group()

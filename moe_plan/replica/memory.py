"""How much memory there really is, and the guard that refuses what does not fit before anything is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.errors import ReplicaError, UnavailableError
from moe_plan.hardware.host import Available, available_memory
from moe_plan.units import binary_size

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Available", "available_memory", "budget_bytes", "cuda_memory", "guard"]

SHARE_PERCENT = 70
"""The part of available memory that a run may take: estimates err, and others need memory too."""


def cuda_memory(index: int = 0) -> Available:
    """Free memory of a CUDA device, with what torch has reserved there and does not use.

    Raises UnavailableError where torch sees no such device.
    """
    import torch  # noqa: PLC0415  the machine's memory is told without it

    if not torch.cuda.is_available() or index >= torch.cuda.device_count():
        message = f"torch {torch.__version__} sees no CUDA device {index}"
        raise UnavailableError(message)
    free, _ = torch.cuda.mem_get_info(index)
    spare = torch.cuda.memory_reserved(index) - torch.cuda.memory_allocated(index)
    return Available(free + spare, f"free on CUDA device {index}")


def budget_bytes(available: Available, max_memory: int | None = None) -> int:
    """What a run may take: SHARE_PERCENT of what is available, and no more than was promised."""
    share = available.bytes * SHARE_PERCENT // 100
    return share if max_memory is None else min(share, max_memory)


def guard(
    needed_bytes: int,
    available: Available,
    *,
    what: str,
    hint: str | Callable[[int], str],
    max_memory: int | None = None,
) -> None:
    """Do nothing where `needed_bytes` are within the budget; raise ReplicaError otherwise.

    `what` names the run; `hint` says what would fit, or finds it out from the budget in bytes.
    """
    budget = budget_bytes(available, max_memory)
    if needed_bytes <= budget:
        return
    advice = hint if isinstance(hint, str) else hint(budget)
    message = f"{what} needs {binary_size(needed_bytes)}; {_bound(available, max_memory)}; {advice}"
    raise ReplicaError(message)


def _bound(available: Available, max_memory: int | None) -> str:
    share = budget_bytes(available)
    if max_memory is not None and max_memory < share:
        return f"--max-memory allows {binary_size(max_memory)}"
    return (
        f"{binary_size(available.bytes)} are available ({available.source}), "
        f"of which a run may take {SHARE_PERCENT} %, {binary_size(share)}"
    )

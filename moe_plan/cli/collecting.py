"""Results that come one by one, of which those that are there count when the run is ended early."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from moe_plan.cli import exit_codes
from moe_plan.cli.witnesses import is_out_of_memory
from moe_plan.errors import ReplicaError
from moe_plan.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Item = TypeVar("Item")


class Stopped(NamedTuple):
    """Why there is no more."""

    code: int
    reason: str


def collected(items: Iterable[Item], device: str) -> tuple[tuple[Item, ...], Stopped | None]:
    """At least one item, and what ended the run before the last, if anything did.

    Raises what ended it, KeyboardInterrupt or ReplicaError, where there is no item yet.
    """
    found: list[Item] = []
    stopped = None
    try:
        with memory_failures(device):
            for item in items:
                found.append(item)  # noqa: PERF402  what is there when an error comes is kept
    except KeyboardInterrupt:
        if not found:
            raise
        stopped = Stopped(exit_codes.INTERRUPTED, "interrupted")
    except ReplicaError as error:
        if not found:
            raise
        stopped = Stopped(exit_codes.REPLICA, f"error: {clean(str(error), 600)}")
    return tuple(found), stopped


@contextmanager
def memory_failures(device: str) -> Iterator[None]:
    """An allocation that fails inside is a ReplicaError; other errors are what they are."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        message = f"out of memory on {device}; try a smaller --scale, --max-memory or fewer --tokens"
        raise ReplicaError(message) from None

"""The cache of a batch of sequences: what each mixer of each decoder layer keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.replica.store import Fixed, Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from moe_plan.replica.model import Replica
    from moe_plan.replica.store import State


class Held(NamedTuple):
    """One state of one layer, as it is held now."""

    layer: int
    name: str
    elements: int
    """Of the entries that are held, all sequences together."""
    itemsize: int
    allocated_bytes: int
    is_fixed: bool


class Cache:
    """Caches of `batch` sequences with room for `capacity` tokens each."""

    def __init__(self, replica: Replica, batch: int, capacity: int) -> None:
        like: Tensor = replica.embedding
        self.tokens = 0
        """Tokens that each sequence has seen."""
        self.batch = batch
        self.capacity = capacity
        self.layers: list[list[State]] = replica.decoder.states(batch, capacity, like)

    def held(self) -> Iterator[Held]:
        """Every state of every layer; where a layer has several mixers, the owner is numbered."""
        for index, states in enumerate(self.layers):
            for number, state in enumerate(states):
                for name, kept in state.items():
                    yield _held(index, _numbered(name, number, states), kept)


def _numbered(name: str, number: int, states: list[State]) -> str:
    owner, _, rest = name.partition(".")
    # Every mixer of a layer has tensors of its owner, whether it keeps anything or not.
    return f"{owner}.{number}.{rest}" if len(states) > 1 else name


def _held(layer: int, name: str, kept: Store | Fixed) -> Held:
    return Held(layer, name, kept.held_elements, kept.itemsize, kept.allocated_bytes, isinstance(kept, Fixed))

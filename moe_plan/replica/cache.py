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
        self._owners = replica.decoder.owners()

    def held(self) -> Iterator[Held]:
        """Every state of every layer; an owner that several mixers of a layer have is numbered."""
        for index, (states, owners) in enumerate(zip(self.layers, self._owners, strict=True)):
            for number, state in enumerate(states):
                for name, kept in state.items():
                    yield _held(index, _numbered(name, number, owners), kept)


def _numbered(name: str, number: int, owners: list[frozenset[str]]) -> str:
    """As the tensors of a layer are numbered, whether a mixer keeps anything or not."""
    owner, _, rest = name.partition(".")
    if sum(owner in other for other in owners) < 2:  # noqa: PLR2004  several
        return name
    return f"{owner}.{sum(owner in other for other in owners[:number])}.{rest}"


def _held(layer: int, name: str, kept: Store | Fixed) -> Held:
    return Held(layer, name, kept.held_elements, kept.itemsize, kept.allocated_bytes, isinstance(kept, Fixed))

"""Bytes that a forward holds as it goes: what is taken, what is given back, and the most there were."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Hashable


class Run(NamedTuple):
    """One forward: its sizes, and how it is run."""

    sequences: int
    tokens: int
    """New tokens of each sequence."""
    start: int
    """Tokens that the cache holds already."""
    hidden: int
    itemsize: int
    """Bytes of an element of the compute type."""
    query_block: int = 256
    absorbed: bool = False
    """Whether MLA attends to the latent itself."""

    @property
    def rows(self) -> int:
        """New tokens of all sequences."""
        return self.sequences * self.tokens

    @property
    def wide(self) -> int:
        """Bytes of [B, T, D] in the compute type."""
        return self.rows * self.hidden * self.itemsize


class Tape:
    """What is live now beside weights, cache and inputs, in bytes, and the peak of it."""

    def __init__(self) -> None:
        self.live = 0
        self.peak = 0
        self.where = ""
        """Stage of the peak."""
        self._stage = ""
        self._kept: set[Hashable] = set()

    def stage(self, name: str) -> None:
        """What follows belongs to stage `name`."""
        self._stage = name

    def take(self, size: int) -> int:
        """Allocate `size` bytes and return them, to be given back later."""
        self.live += size
        if self.live > self.peak:
            self.peak, self.where = self.live, self._stage
        return size

    def give(self, *sizes: int) -> None:
        """Free what was taken."""
        self.live -= sum(sizes)

    def keep(self, key: Hashable, size: int) -> None:
        """Allocate what lives until the forward ends, once for each key: tables of positions, shared keys."""
        if key not in self._kept:
            self._kept.add(key)
            self.take(size)

"""Bytes that a forward holds as it goes: what is taken, what is given back, and the most there were."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

FP32, INT64, BOOL = 4, 8, 1
"""Bytes of an element."""


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
    cached: bool = True
    """Whether there is a cache: an encoder has none."""
    source: int = 0
    """Tokens of the encoder's output, of each sequence."""
    native: bool = True
    """Whether experts are multiplied in the compute type, and not in float32."""

    @property
    def rows(self) -> int:
        """New tokens of all sequences."""
        return self.sequences * self.tokens

    @property
    def wide(self) -> int:
        """Bytes of [B, T, D] in the compute type."""
        return self.rows * self.hidden * self.itemsize

    @property
    def narrow(self) -> bool:
        """Whether float32 is wider than the compute type, so that it takes a copy."""
        return self.itemsize < FP32


class Module(NamedTuple):
    """One block of one layer."""

    part: str
    layer: int
    slot: str
    """`attention` or `ffn`."""
    name: str
    """As the spec names it."""
    number: int = 0
    """Which of the layer's blocks of that slot."""


class Tape:
    """What is live now beside weights, cache and inputs, in bytes, and the peak of it."""

    def __init__(self) -> None:
        self.live = 0
        self.peak = 0
        self.where = ""
        """Stage of the peak."""
        self.inside: dict[Module, int] = {}
        """Peak of each block alone."""
        self._stage = ""
        self._kept: dict[Hashable, int] = {}
        self._own = 0
        self._own_peak = 0

    def stage(self, name: str) -> None:
        """What follows belongs to stage `name`."""
        self._stage = name

    def take(self, size: int) -> int:
        """Allocate `size` bytes and return them, to be given back later."""
        self.live += size
        self._own += size
        self._own_peak = max(self._own_peak, self._own)
        if self.live > self.peak:
            self.peak, self.where = self.live, self._stage
        return size

    def give(self, *sizes: int) -> None:
        """Free what was taken."""
        self.live -= sum(sizes)
        self._own -= sum(sizes)

    def flash(self, *sizes: int) -> None:
        """Allocate all of `sizes`, and free them at once."""
        self.give(self.take(sum(sizes)))

    def swap(self, old: int, new: int) -> int:
        """Allocate `new`, then free `old`, which it was made from; returns `new`."""
        self.take(new)
        self.give(old)
        return new

    def keep(self, key: Hashable, size: int) -> None:
        """Allocate what lives until the forward ends, once for each key: tables of positions, shared keys."""
        if key not in self._kept:
            self._kept[key] = self.take(size)

    def keeps(self, key: Hashable) -> bool:
        """Whether something is kept under `key`."""
        return key in self._kept

    def hand(self, key: Hashable, size: int) -> None:
        """Keep `size` bytes that are taken already; what an earlier block kept under `key` is freed."""
        self.live -= self._kept.get(key, 0)
        self._kept[key] = size

    def forget(self) -> None:
        """The forward has ended: free all that was kept."""
        self.live -= sum(self._kept.values())
        self._kept.clear()

    @contextmanager
    def within(self, module: Module) -> Iterator[None]:
        """Note the peak of a block alone: what it allocates itself, whatever else is live or freed."""
        self._own = self._own_peak = 0
        yield
        self.inside[module] = self._own_peak

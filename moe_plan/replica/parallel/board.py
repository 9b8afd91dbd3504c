"""Where each rank is: a page of shared memory that ranks write and whoever watches them reads.

A rank that hangs cannot be asked; what it last wrote can be read.
"""

from __future__ import annotations

import mmap
import struct
import tempfile
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import IO

_SLOT = struct.Struct("<q120s")


class Seen(NamedTuple):
    """Where a rank was last seen."""

    step: int
    """Exchanges that it has entered, its start and its joining among them."""
    doing: str
    """The last of them, in words."""


class Board:
    """One slot for each rank, in a file without a name that its workers inherit."""

    def __init__(self, descriptor: int, ranks: int) -> None:
        self._memory = mmap.mmap(descriptor, ranks * _SLOT.size)

    def mark(self, rank: int, doing: str) -> None:
        """Write that `rank` enters its next step."""
        step = _SLOT.unpack_from(self._memory, rank * _SLOT.size)[0]
        _SLOT.pack_into(self._memory, rank * _SLOT.size, step + 1, doing.encode()[:120])

    def seen(self, rank: int) -> Seen:
        """Where `rank` was last seen; step 0 where it has written nothing."""
        step, doing = _SLOT.unpack_from(self._memory, rank * _SLOT.size)
        return Seen(step, doing.rstrip(b"\0").decode(errors="replace") or "starting")

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()


def board_file(ranks: int) -> IO[bytes]:
    """A file of the right size, gone from its folder already; the caller closes it."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  handed to the caller
    file.truncate(ranks * _SLOT.size)
    return file

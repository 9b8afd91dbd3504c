"""What a sequence keeps: entries that grow with the context up to a ceiling, and states of fixed size.

Legend: N sequences (or sequences x heads), T new tokens, S entries seen, W width of an entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


class Store:
    """Entries of the last `limit` tokens, in a ring where there is a limit: entry p stands at p % limit."""

    def __init__(
        self, sequences: int, width: int, capacity: int, like: Tensor, limit: int | None = None
    ) -> None:
        """Room for `capacity` tokens of `sequences` rows; `like` gives device and type."""
        self.limit = limit
        self.count = 0
        slots = capacity if limit is None else min(capacity, limit)
        self.slots_NSW = torch.empty((sequences, slots, width), dtype=like.dtype, device=like.device)

    @property
    def entries(self) -> int:
        """Entries that are held."""
        return self.count if self.limit is None else min(self.count, self.limit)

    @property
    def held_elements(self) -> int:
        """Elements of the entries that are held, all sequences together."""
        rows, _, width = self.slots_NSW.shape
        return rows * self.entries * width

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.slots_NSW.element_size()

    @property
    def allocated_bytes(self) -> int:
        """Bytes of the whole storage."""
        return self.slots_NSW.untyped_storage().nbytes()

    def extend(self, new_NTW: Tensor, back: int) -> Tensor:
        """Keep `new`, and return the last `back` earlier entries with it: [N, back + T, W].

        In order of time, except for a single token in a full ring, where it is the ring's own order:
        nothing is masked then, and a sum does not mind.
        """
        if self.limit is None:
            seen = slice(self.count - back, self.count + new_NTW.shape[1])
            self._write(new_NTW)
            return self.slots_NSW[:, seen]
        if new_NTW.shape[1] == 1:
            return self._extend_by_one(new_NTW, back)
        past = self._recent(back)
        self._write(new_NTW)
        return new_NTW if back == 0 else torch.cat((past, new_NTW), dim=1)

    def _extend_by_one(self, new_N1W: Tensor, back: int) -> Tensor:
        self._write(new_N1W)
        slots = self.slots_NSW.shape[1]
        end = (self.count - 1) % slots + 1
        if back + 1 <= end:
            return self.slots_NSW[:, end - back - 1 : end]
        if back + 1 == slots:
            return self.slots_NSW
        return torch.cat((self._recent(back + 1),), dim=1)

    def _recent(self, back: int) -> Tensor:
        slots = self.slots_NSW.shape[1]
        places = torch.arange(self.count - back, self.count, device=self.slots_NSW.device) % max(slots, 1)
        return self.slots_NSW[:, places]

    def _write(self, new_NTW: Tensor) -> None:
        tokens, slots = new_NTW.shape[1], self.slots_NSW.shape[1]
        if self.limit is None or self.count % slots + tokens <= slots:
            first = self.count if self.limit is None else self.count % slots
            self.slots_NSW[:, first : first + tokens] = new_NTW
        else:
            kept = min(tokens, slots)
            end = self.count + tokens
            places = torch.arange(end - kept, end, device=self.slots_NSW.device) % slots
            self.slots_NSW[:, places] = new_NTW[:, tokens - kept :]
        self.count += tokens


class Fixed:
    """A state of fixed size: what a recurrence carries from token to token."""

    def __init__(
        self, sequences: int, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
    ) -> None:
        """Zeros of [sequences, *shape]."""
        self.value = torch.zeros((sequences, *shape), dtype=dtype, device=device)

    @property
    def held_elements(self) -> int:
        """Elements of all sequences together."""
        return self.value.numel()

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.value.element_size()

    @property
    def allocated_bytes(self) -> int:
        """Bytes of the whole storage."""
        return self.value.untyped_storage().nbytes()


State = dict[str, Store | Fixed]
"""What one mixer keeps, under the names of the inventory: `attention.keys`, `attention.conv_state`."""

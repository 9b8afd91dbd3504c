"""Peak bytes that a forward holds beside weights and cache, followed storage by storage.

Every storage that an operation returns is counted from then until it is freed. What an operation allocates
and frees inside itself is not: fused attention would, and is not used; on a CPU, oneDNN's copy of a
convolution's taps and its buffers inside bfloat16 products are, tens of kilobytes that do not grow with
tokens.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from collections.abc import Iterable


class AllocationTracker(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch declares no types
    """Live and peak bytes of storages that were made while it is active."""

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        """`known`: tensors that existed before and do not count (weights, cache, inputs)."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.live_bytes = 0
        self.peak_bytes = 0
        self.peak_operation = ""
        """The operation whose result made the peak."""
        self._known: dict[int, weakref.ref[Any]] = {}
        self._seen: dict[int, weakref.ref[Any]] = {}
        for tensor in known:
            self._know(tensor)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run `func` and follow what it returns."""
        given = kwargs or {}
        for leaf in tree_leaves((args, given)):
            # What an operation is given and nobody made here was there before.
            if isinstance(leaf, Tensor) and not leaf.is_mkldnn and _identity(leaf) not in self._seen:
                self._know(leaf)
        out = func(*args, **given)
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._follow(leaf, str(func))
        return out

    def _know(self, tensor: Tensor) -> None:
        identity = _identity(tensor)

        def freed(_: object) -> None:
            # Another storage may stand there next: torch makes a tensor of a number before any mode sees it.
            self._known.pop(identity, None)

        if identity not in self._known:
            self._known[identity] = weakref.ref(tensor.untyped_storage(), freed)

    def _follow(self, tensor: Tensor, operation: str) -> None:
        identity = _identity(tensor)
        if identity in self._known or identity in self._seen:
            return
        storage = tensor.untyped_storage()
        size = storage.nbytes()

        def freed(_: object) -> None:
            self.live_bytes -= size
            self._seen.pop(identity, None)

        self._seen[identity] = weakref.ref(storage, freed)
        self.live_bytes += size
        if self.live_bytes > self.peak_bytes:
            self.peak_bytes, self.peak_operation = self.live_bytes, operation


def _identity(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001  the identity of a storage

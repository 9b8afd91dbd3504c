"""The operations of a forward with their sizes, recorded without running them: on the meta device."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from moe_plan.replica.measure.kinds import kind_of
from moe_plan.replica.measure.loops import is_scattered

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import FrameType

    from torch import UntypedStorage

    from moe_plan.replica.measure.kinds import Kind

_REPLICA = str(Path(__file__).parents[1])
_DRAWING = {str(Path(_REPLICA, "routing.py")), str(Path(_REPLICA, "ffn", "distinct.py"))}
_ONE_NUMBER = 2
"""Arguments of an operation on a tensor and a number."""


class Operation(NamedTuple):
    """One operation, as much of it as its time depends on."""

    kind: Kind
    name: str
    """Of aten; with ` number` where a tensor is joined with a plain number, which torch wraps first."""
    rows: int = 0
    """M of a product of [M, K] and [K, N]; 0 for everything else."""
    columns: int = 0
    inner: int = 0
    batch: int = 1
    transposed: bool = False
    """Whether the right-hand side lies in memory as [N, K]."""
    elements: int = 0
    """Elements that it computes: of the largest tensor that it reads or writes."""
    bytes_moved: int = 0
    """Bytes of every input and output."""
    width: int = 1
    """Elements of one row: of what is reduced, sorted or picked at a time."""
    scattered: bool = False
    """Whether its neighbouring elements are not neighbours in memory."""
    results: int = 1
    """Tensors that it returns."""
    written_bytes: int = 0
    """Bytes of what it returns."""
    distance: int | None = None
    """Bytes that the forward touched since it last touched what this reads most of; None: not before."""
    site: tuple[str, int] = ("", 0)
    """File and line of the replica that it is called from."""
    recycled: int | None = None
    """Bytes touched since as large a result was written, whose memory an allocator gives again."""

    @property
    def flops(self) -> int:
        """Multiply-adds of a product, times 2."""
        return 2 * self.batch * self.rows * self.columns * self.inner


class Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch declares no types here
    """Records every operation of what runs inside it, in order.

    All memory that it sees is kept until it is gone itself, so that nothing new is taken for what stood at
    the same place before. On the meta device that costs nothing.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []
        self._touched_bytes = 0
        self._last: dict[tuple[int, int], int] = {}
        self._written: dict[int, int] = {}
        self._held: list[UntypedStorage] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run `func` and record it."""
        out = func(*args, **(kwargs or {}))
        name = str(func._overloadpacket).removeprefix("aten.")  # noqa: SLF001  as torch's own modes do
        results = _tensors([out])
        site = _site()
        drawn = site[0] in _DRAWING
        copied = name == "_to_copy" and results[0].is_meta and not args[0].is_meta
        # A forced routing is drawn before anything is timed, and where weights are on the CPU it is there.
        if not drawn and not copied:
            found = operation(name, args, results)
            back = self._written.get(found.written_bytes)
            recycled = None if back is None else self._touched_bytes - back
            distance = self._touch(found, args, results)
            self._written[found.written_bytes] = self._touched_bytes
            self.operations.append(found._replace(distance=distance, recycled=recycled, site=site))
        return out

    def _touch(self, found: Operation, args: tuple[Any, ...], results: list[Tensor]) -> int | None:
        """Bytes since what `found` mainly reads was last touched; afterwards all its tensors just were."""
        if found.kind == "view":
            return 0
        tensors = _tensors(args)
        main = _main(found, tensors)
        distance = None
        if main is not None and (last := self._last.get(_place(main))) is not None:
            distance = self._touched_bytes - last
        if found.kind in {"gather", "scatter"}:
            # Only rows of it are touched.
            tensors = [tensor for tensor in tensors if tensor is not main]
        # A result is not new: an allocator gives it what was just given back.
        fresh = sum(_bytes(tensor) for tensor in tensors if _place(tensor) not in self._last)
        self._touched_bytes += min(fresh, found.bytes_moved)
        for tensor in (*tensors, *results):
            self._last[_place(tensor)] = self._touched_bytes
            self._held.append(tensor.untyped_storage())
        return distance


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    """Those among `values` and in lists of them, in order: all that an operation takes or returns."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found


def _site() -> tuple[str, int]:
    """Of the innermost call that is the replica's own."""
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001  traceback would format every frame
    while frame is not None and not frame.f_code.co_filename.startswith(_REPLICA):
        frame = frame.f_back
    return ("", 0) if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def _main(found: Operation, tensors: list[Tensor]) -> Tensor | None:
    if not tensors:
        return None
    return tensors[-1] if found.kind in {"product", "batched-product"} else tensors[0]


def _place(tensor: Tensor) -> tuple[int, int]:
    return tensor.untyped_storage()._cdata, int(tensor.storage_offset())  # noqa: SLF001  a meta tensor has no address


def operation(name: str, args: Sequence[Any], out: list[Tensor]) -> Operation:
    """What one call does, from the shapes of what goes in and comes out."""
    tensors = _tensors(args)
    moved = sum(_bytes(t) for t in (*tensors, *out))
    largest = max((t.numel() for t in (*tensors, *out)), default=0)
    kind = kind_of(name)
    written = 0 if kind == "view" else sum(_bytes(t) for t in out)
    if kind in {"product", "batched-product"}:
        return _product(kind, name, tensors, moved)._replace(written_bytes=written)
    if kind in {"gather", "scatter"}:
        return _picked(kind, name, tensors, out)
    if kind == "elementwise" and _with_number(args):
        name += " number"
    width = tensors[0].shape[-1] if tensors and tensors[0].dim() else 1
    found = Operation(kind, name, elements=largest, bytes_moved=moved, width=width, results=len(out))
    found = found._replace(written_bytes=written)
    if kind in {"elementwise", "mask", "transcendental"} and out:
        joined = [tensor for tensor in tensors if tensor.dim() <= out[0].dim()]
        return found._replace(scattered=is_scattered(out[0], joined))
    return found


def _with_number(args: Sequence[Any]) -> bool:
    return len(args) >= _ONE_NUMBER and isinstance(args[0], Tensor) and isinstance(args[1], int | float)


def _product(kind: Kind, name: str, tensors: list[Tensor], moved: int) -> Operation:
    left, right = tensors[-2], tensors[-1]
    rows, inner = left.shape[-2:]
    columns = right.shape[-1] if right.dim() > 1 else 1
    transposed = right.dim() > 1 and right.stride(-1) != 1 and right.stride(-2) == 1
    batch = left.shape[0] if kind == "batched-product" else 1
    elements = batch * inner * columns
    return Operation(kind, name, rows, columns, inner, batch, transposed, elements, moved)


def _picked(kind: Kind, name: str, tensors: list[Tensor], out: list[Tensor]) -> Operation:
    """Of what is picked from or added to, only what is picked or added is touched."""
    values = [t for t in (*tensors, *out) if t.is_floating_point()] or [*tensors, *out]
    least = min(values, key=Tensor.numel)
    width = least.shape[-1] if least.dim() > 1 else 1
    return Operation(kind, name, elements=least.numel(), bytes_moved=2 * _bytes(least), width=width)._replace(
        written_bytes=_bytes(least)
    )


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()

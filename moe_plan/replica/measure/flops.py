"""FLOPs of what torch runs, by torch's own formulas; an operation that nobody can price stops the count.

torch 2.13 counts 0, silently, for fused attention and grouped products on the CPU, for matrix-vector
products and for in-place ones. Here such an operation is either priced or refused.
"""

from __future__ import annotations

import weakref
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from moe_plan.errors import ReplicaError
from moe_plan.replica import labels
from moe_plan.replica.measure.free import is_free

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def _mv(matrix: Tensor, _vector: Tensor) -> int:
    return 2 * matrix.numel()


def _addmv(_added: Tensor, matrix: Tensor, _vector: Tensor) -> int:
    return 2 * matrix.numel()


def _dot(left: Tensor, _right: Tensor) -> int:
    return 2 * left.numel()


def _grouped_mm(left: Tensor, right: Tensor, *_rest: object) -> int:
    """Rows [n, in] through experts [E, in, out]: each row through one of them."""
    rows, inner = left.shape
    return 2 * rows * inner * right.shape[-1]


def _addmm(_added: Tensor, left: Tensor, right: Tensor) -> int:
    return 2 * left.shape[0] * left.shape[1] * right.shape[1]


def _baddbmm(_added: Tensor, left: Tensor, right: Tensor) -> int:
    return 2 * left.shape[0] * left.shape[1] * left.shape[2] * right.shape[2]


def _linear_pointwise(rows: Tensor, weight: Tensor, *_rest: object) -> int:
    """Rows [n, in] times a weight [out, in] in oneDNN's own layout."""
    return 2 * rows.numel() * weight.shape[0]


# What torch's table leaves out.
MISSING: dict[str, Callable[..., int]] = {
    "aten.mv": _mv,
    "aten.addmv": _addmv,
    "aten.addmv_": _addmv,
    "aten.dot": _dot,
    "aten.vdot": _dot,
    "aten.addmm_": _addmm,
    "aten.baddbmm_": _baddbmm,
    "aten._grouped_mm": _grouped_mm,
    "mkldnn._linear_pointwise": _linear_pointwise,
}


COPIES = {"aten.copy_": 1, "aten._to_copy": 0}
"""Operations that convert, and which argument it is that they copy."""


def price(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
    """FLOPs of one call of an aten operation; a multiply-add is 2.

    Raises ReplicaError for one that has no formula and is not on the list of free ones.
    """
    packet = function._overloadpacket  # noqa: SLF001  torch's own counter looks it up so
    name = str(packet)
    if is_free(name):
        return 0
    if name in MISSING:
        return MISSING[name](*args)
    if packet in flop_registry:
        given = {key: value for key, value in kwargs.items() if key not in ("out", "out_dtype")}
        return int(flop_registry[packet](*args, **given, out_val=out))
    message = f"{name} has no FLOP formula and is not known to be free: the count would be wrong"
    raise ReplicaError(message)


class FlopCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch declares no types
    """FLOPs by operation: under the name of the weight that is multiplied, else under the label in force."""

    def __init__(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops: dict[str, int] = defaultdict(int)
        self._names: dict[int, str] = {}
        self._copies: dict[int, weakref.ref[Any]] = {}
        for name, tensor in tensors:
            # Views of one tensor, as gate and up projections of experts, are counted under the first.
            self._names.setdefault(_storage(tensor), name)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run `func`, then price it."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        count = price(func, args, kwargs, out)
        if count:
            self.flops[self._owner(args)] += count
        elif (packet := str(func._overloadpacket)) in COPIES:  # noqa: SLF001
            self._inherit(out, args[COPIES[packet]])
        return out

    def _inherit(self, copy: Tensor, source: Tensor) -> None:
        """A weight that was converted is counted under its name."""
        name = self._names.get(_storage(source))
        storage = _storage(copy)
        if name is not None and (storage in self._copies or storage not in self._names):
            if storage not in self._copies:
                self._copies[storage] = weakref.ref(copy.untyped_storage(), lambda _: self._forget(storage))
            self._names[storage] = name

    def _forget(self, storage: int) -> None:
        del self._names[storage], self._copies[storage]

    def _owner(self, args: tuple[Any, ...]) -> str:
        label = labels.current()
        # A bias, before the matrices of a product or after the taps of a convolution, multiplies nothing.
        for arg in reversed(args):
            if not isinstance(arg, Tensor) or arg.dim() == 1:
                continue
            if (name := self._names.get(_storage(arg))) is not None:
                return name
        return label or "unnamed"

    @property
    def total(self) -> int:
        """All FLOPs counted so far."""
        return sum(self.flops.values())


def _storage(tensor: Tensor) -> int:
    if tensor.is_mkldnn:
        # In oneDNN's layout there is no storage to be seen, and no view of it either.
        return id(tensor)
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001  the identity of a storage, on meta too

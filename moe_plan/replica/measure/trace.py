"""The operations of a forward with their sizes, recorded without running them: on the meta device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from collections.abc import Iterable

Kind = Literal[
    "product", "batched-product", "elementwise", "transcendental", "softmax", "reduction", "gather", "view"
]

PRODUCTS = frozenset({"mm", "addmm", "mv", "addmv"})
BATCHED = frozenset({"bmm", "baddbmm"})
TRANSCENDENTAL = frozenset(
    [
        "cos",
        "exp",
        "exp_",
        "expm1",
        "gelu",
        "log",
        "log1p",
        "log_",
        "logaddexp",
        "pow",
        "sigmoid",
        "sigmoid_",
        "silu",
        "silu_",
        "sin",
        "softplus",
        "tanh",
        "tanh_",
    ]
)
SOFTMAX = frozenset({"_softmax", "_log_softmax", "logsumexp"})
REDUCTIONS = frozenset(
    [
        "amax",
        "amin",
        "argsort",
        "bincount",
        "cumsum",
        "max",
        "mean",
        "min",
        "native_layer_norm",
        "sort",
        "sum",
        "topk",
    ]
)
GATHERS = frozenset(
    [
        "embedding",
        "gather",
        "index",
        "index_add",
        "index_add_",
        "index_copy_",
        "index_put",
        "index_put_",
        "index_select",
        "scatter",
        "scatter_",
    ]
)
VIEWS = frozenset(
    [
        "_reshape_alias",
        "_unsafe_view",
        "alias",
        "as_strided",
        "detach",
        "empty",
        "empty_like",
        "expand",
        "lift_fresh",
        "new_empty",
        "permute",
        "select",
        "slice",
        "split",
        "split_with_sizes",
        "squeeze",
        "t",
        "transpose",
        "unbind",
        "unfold",
        "unsqueeze",
        "view",
    ]
)


class Operation(NamedTuple):
    """One operation, as much of it as its time depends on."""

    kind: Kind
    name: str
    rows: int = 0
    """M of a product of [M, K] and [K, N]; 0 for everything else."""
    columns: int = 0
    inner: int = 0
    batch: int = 1
    elements: int = 0
    """Elements of the largest tensor that it reads or writes."""
    bytes_moved: int = 0
    """Bytes of every input and output."""

    @property
    def flops(self) -> int:
        """Multiply-adds of a product, times 2."""
        return 2 * self.batch * self.rows * self.columns * self.inner


class Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch declares no types here
    """Records every operation of what runs inside it, in order."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run `func` and record it."""
        out = func(*args, **(kwargs or {}))
        name = str(func._overloadpacket).removeprefix("aten.")  # noqa: SLF001  as torch's own modes do
        results = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        if not (name == "_to_copy" and results[0].is_meta and not args[0].is_meta):
            # A routing comes from the CPU: where the weights are on the CPU too, nothing is copied.
            self.operations.append(operation(name, args, results))
        return out


def operation(name: str, args: Iterable[Any], out: list[Tensor]) -> Operation:
    """What one call does, from the shapes of what goes in and comes out."""
    tensors = [leaf for leaf in tree_leaves(list(args)) if isinstance(leaf, Tensor)]
    moved = sum(t.numel() * t.element_size() for t in (*tensors, *out))
    largest = max((t.numel() for t in (*tensors, *out)), default=0)
    if name in PRODUCTS:
        left, right = tensors[-2], tensors[-1]
        columns = right.shape[1] if right.dim() > 1 else 1
        return Operation("product", name, left.shape[0], columns, left.shape[1], 1, largest, moved)
    if name in BATCHED:
        left, right = tensors[-2], tensors[-1]
        batch, rows, inner = left.shape
        return Operation("batched-product", name, rows, right.shape[2], inner, batch, largest, moved)
    kind = _kind(name)
    if kind == "gather":
        # Of what is picked from, only what is picked is read.
        largest = min((t.numel() for t in (*tensors, *out) if t.is_floating_point()), default=0)
        moved = 2 * largest * (out[0].element_size() if out else 0)
    return Operation(kind, name, elements=largest, bytes_moved=moved)


def _kind(name: str) -> Kind:
    if name in VIEWS:
        return "view"
    if name in SOFTMAX:
        return "softmax"
    if name in TRANSCENDENTAL:
        return "transcendental"
    if name in REDUCTIONS:
        return "reduction"
    return "gather" if name in GATHERS else "elementwise"

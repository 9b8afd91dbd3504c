"""The explicit list that every number is summed from: weights, states and operations of every layer.

The rows are named tuples: a frozen dataclass takes four times as long to define, and start-up counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import expm1, log1p, prod
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

Use = Literal["matmul", "conv", "lookup", "vector"]
Role = Literal["decoder", "encoder", "mtp", "vision", "audio", "projector"]
Phase = Literal["both", "prefill", "decode"]

TEXT_ROLES: tuple[Role, ...] = ("decoder", "encoder")


class Weight(NamedTuple):
    """One tensor of a layer, or `copies` equal ones of which a token uses `used`.

    A dense matrix is (1, 1), routed experts (E, k), an embedding V rows of which a token uses one.
    `shape` is that of one copy, outputs first.
    """

    name: str
    component: str
    shape: tuple[int, ...]
    copies: int = 1
    used: int = 1
    pool: int = 0
    """What a token chooses from, where that is more than `copies` (zero-compute experts)."""
    draws: int = 0
    """How many of the pool a token chooses, where that may be more than `used`."""
    use: Use = "matmul"
    buffer: str | None = None
    """Storage type of a tensor that is kept in the checkpoint but not trained; None for parameters."""
    stored: bool = True
    """False for a tied output head: used, not stored."""
    copy: bool = False
    """A second copy, in the checkpoint only, of a tensor that is already held."""
    max_tp: int = 1
    """Ways that tensor parallelism can cut it; beyond them ranks hold replicas."""
    phase: Phase = "both"
    """`prefill` for what a decode step does not run: an encoder, the keys of its output."""

    @property
    def elements(self) -> int:
        """Elements of one copy."""
        return prod(self.shape)

    @property
    def flops_per_token(self) -> int:
        """Forward FLOPs of one token; a multiply-add is 2."""
        return 2 * self.used * self.elements if self.use in ("matmul", "conv") else 0

    def copies_touched(self, tokens: int) -> float:
        """Distinct copies that `tokens` uniform tokens use: copies * (1 - (1 - draws/pool)^tokens)."""
        pool, draws = self.pool or self.copies, self.draws or self.used
        if draws >= pool:
            return float(self.copies)
        if tokens == 1:
            return self.copies * draws / pool
        # The same as 1 - (1 - draws/pool)^tokens, without its cancellation where draws/pool is tiny.
        return self.copies * -expm1(tokens * log1p(-draws / pool))


class Reach(NamedTuple):
    """How many entries a token at a context of `s` tokens sees, or a cache keeps.

    `min(s // stride, limit)`; inside chunks the position in the chunk; the whole sequence if not causal.
    """

    limit: int | None = None
    chunk: int | None = None
    stride: int = 1
    causal: bool = True

    def entries(self, context: int) -> int:
        """Entries at a context of `context` tokens, the current one included."""
        if self.chunk is not None and context > 0:
            context = (context - 1) % self.chunk + 1
        count = context // self.stride
        return count if self.limit is None else min(count, self.limit)

    def entries_over_prefill(self, context: int) -> int:
        """Sum of `entries` over every position of a prefill of `context` tokens."""
        if self.chunk is None:
            return self._sum(context)
        full, rest = divmod(context, self.chunk)
        return full * self._sum(self.chunk) + self._sum(rest)

    def _sum(self, context: int) -> int:
        """Sum of `min(t // stride, limit)` for t = 1..context; all at t = context if not causal."""
        if not self.causal:
            entries = context // self.stride
            return context * (entries if self.limit is None else min(entries, self.limit))
        ramp = context if self.limit is None else min(context, self.limit * self.stride)
        return _floor_sum(ramp, self.stride) + (context - ramp) * (self.limit or 0)


class State(NamedTuple):
    """What a sequence keeps: `elements` for each entry, or once where `reach` is None."""

    name: str
    elements: int
    reach: Reach | None
    dtype: str | None = None
    """Storage type where the cache's format does not decide it (recurrent states)."""
    max_tp: int = 1
    source: bool = False
    """Grows with the encoder's input instead of the context."""


class Operation(NamedTuple):
    """Work of no weight: `flops` for each entry seen, or for each token where `reach` is None."""

    name: str
    component: str
    flops: int
    reach: Reach | None
    phase: Phase = "both"
    source: bool = False


class Body(NamedTuple):
    """The weights, states and operations of one attention or FFN block."""

    weights: tuple[Weight, ...] = ()
    states: tuple[State, ...] = ()
    operations: tuple[Operation, ...] = ()

    def in_prefill(self) -> Body:
        """The same body where a decode step does not run it, so that nothing is kept for one."""
        return Body(
            tuple(w._replace(phase="prefill") for w in self.weights),
            (),
            tuple(o._replace(phase="prefill") for o in self.operations),
        )

    def renamed(self, owner: str, index: int) -> Body:
        """The same body as the `index`-th of its kind in a layer: `attention.q` -> `attention.1.q`."""

        def name(old: str) -> str:
            head, _, tail = old.partition(".")
            return f"{head}.{index}.{tail}" if head == owner and tail else old

        return Body(
            tuple(w._replace(name=name(w.name)) for w in self.weights),
            tuple(s._replace(name=name(s.name)) for s in self.states),
            tuple(o._replace(name=name(o.name)) for o in self.operations),
        )


@dataclass(frozen=True, slots=True)
class Block:
    """A set of identical layers of one part; `layers` is empty for what stands outside the layers."""

    part: str
    role: Role
    layers: tuple[int, ...]
    weights: tuple[Weight, ...]
    states: tuple[State, ...] = ()
    operations: tuple[Operation, ...] = ()

    @property
    def count(self) -> int:
        """How many times its rows stand in the model."""
        return len(self.layers) or 1

    @property
    def in_text(self) -> bool:
        """Whether it belongs to the text model, as opposed to MTP modules and towers."""
        return self.role in TEXT_ROLES


@dataclass(frozen=True, slots=True)
class Inventory:
    """A model as the list of its blocks."""

    name: str
    blocks: tuple[Block, ...]

    @property
    def text(self) -> tuple[Block, ...]:
        """Blocks of the text model: decoder and encoder."""
        return tuple(block for block in self.blocks if block.in_text)

    def text_weights_run(self, phase: Phase) -> Iterator[tuple[Weight, int]]:
        """The weights of the text model that a forward of `phase` runs, with their layers."""
        return ((w, count) for w, count in self.text_weights() if w.phase in ("both", phase))

    def text_weights(self) -> Iterator[tuple[Weight, int]]:
        """Every weight of the text model with the number of layers that hold it."""
        for block in self.text:
            for weight in block.weights:
                yield weight, block.count


def _floor_sum(context: int, stride: int) -> int:
    """Sum of t // stride for t = 1..context."""
    whole, rest = divmod(context, stride)
    return stride * whole * (whole - 1) // 2 + whole * (rest + 1)

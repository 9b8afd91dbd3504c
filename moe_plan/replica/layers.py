"""One decoder or encoder layer: its blocks, and how its flow joins them to the residual stream.

Legend: B sequences, T new tokens, D hidden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor, nn

from moe_plan.replica.block import Block
from moe_plan.replica.build_mixer import mixer
from moe_plan.replica.extra import Extra
from moe_plan.replica.ffn.build import feed_forward
from moe_plan.replica.ffn.moe import Moe
from moe_plan.replica.hyper import Hyper
from moe_plan.replica.norm import Norms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from moe_plan.replica.attention.gqa import Widths
    from moe_plan.replica.call import Call
    from moe_plan.replica.mixer import Mixer
    from moe_plan.replica.store import State
    from moe_plan.spec.attention import AnyAttention
    from moe_plan.spec.ffn import AnyFfn
    from moe_plan.spec.model import ModelSpec, Norm, Run


class Place(NamedTuple):
    """What a layer must know of the stack it stands in."""

    spec: ModelSpec
    widths: Widths
    norm: Norm
    streams: int | None
    """Residual streams of hyper-connections."""
    number: int
    """Which layer of the stack it is, from 0."""
    layers: int


class Layer(Block):
    """A layer built from the blocks that its run names."""

    def __init__(self, run: Run, mixers: list[AnyAttention], ffns: list[AnyFfn], place: Place) -> None:
        super().__init__()
        hidden, blocks = place.widths.hidden, len(mixers) + len(ffns)
        self.flow, self.alpha, self.scale = run.flow, run.residual_alpha, place.spec.residual_scale
        self.mixers = nn.ModuleList(mixer(block, place) for block in mixers)
        self.ffns = nn.ModuleList(feed_forward(f, hidden, place.spec.vocab, place.norm) for f in ffns)
        self.norms = Norms(
            place.norm, run.norms if run.norms is not None else norms_of(run.flow, blocks), hidden
        )
        self.hypers = nn.ModuleList(
            Hyper(place.streams, hidden, index, place.norm)
            for index in range(blocks)
            if place.streams is not None
        )
        self.extra = Extra(run.tensors)

    def states(self, batch: int, capacity: int, like: Tensor) -> list[State]:
        """An empty cache for each mixer."""
        return [block.state(batch, capacity, like) for block in self._mixers()]

    def owners(self) -> list[frozenset[str]]:
        """Of each mixer, the owners that its tensors are named after: `attention`, `indexer`, ..."""
        return [frozenset(name.partition(".")[0] for name, _ in block.tensors()) for block in self._mixers()]

    def _mixers(self) -> list[Mixer]:
        return list(self.mixers)  # type: ignore[arg-type]

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Tensors of the layer; where several blocks have the same owner, the owner is numbered."""
        groups = [list(block.tensors()) for block in (*self.mixers, *self.ffns, *self.hypers)]
        owners = [{name.partition(".")[0] for name, _ in group} - {"hyper"} for group in groups]
        for index, group in enumerate(groups):
            for name, tensor in group:
                owner, _, rest = name.partition(".")
                if sum(owner in other for other in owners) > 1:
                    name = f"{owner}.{sum(owner in other for other in owners[:index])}.{rest}"  # noqa: PLW2901
                yield name, tensor
        yield from self.norms.tensors()
        yield from self.extra.tensors()

    def forward(self, x: Tensor, states: list[State] | None, call: Call) -> Tensor:
        """The residual stream after this layer, [B, T, D] (with hyper-connections [B, T, S, D])."""
        steps = self._steps(states, call)
        if self.hypers:
            return self._through_streams(x, steps)
        if self.flow == "parallel-sandwich":
            return self._parallel_sandwich(x, steps, call)
        flows = {
            "sequential": self._sequential,
            "sandwich": self._sandwich,
            "normed-residual": self._normed_residual,
            "dense-residual": self._dense_residual,
            "shortcut": self._shortcut,
        }
        return flows[self.flow](x, steps)

    def _steps(self, states: list[State] | None, call: Call) -> list[Callable[[Tensor], Tensor]]:
        """Each block as a function of its input."""

        def mix(index: int) -> Callable[[Tensor], Tensor]:
            state = None if states is None else states[index]
            return lambda x: self.mixers[index](x, state, call)

        def feed(index: int) -> Callable[[Tensor], Tensor]:
            return lambda x: self.ffns[index](x, call)

        return [*map(mix, range(len(self.mixers))), *map(feed, range(len(self.ffns)))]

    def _scaled(self, x: Tensor) -> Tensor:
        return x if self.scale == 1.0 else x.mul_(self.scale)

    def _through_streams(self, x: Tensor, steps: list[Callable[[Tensor], Tensor]]) -> Tensor:
        for index, (step, hyper) in enumerate(zip(steps, self.hypers, strict=True)):
            assert isinstance(hyper, Hyper)
            read, carry = hyper.read(x)
            x = hyper.write(x, step(self.norms(read, index)), carry)
        return x

    def _sequential(self, x: Tensor, steps: list[Callable[[Tensor], Tensor]]) -> Tensor:
        for index, step in enumerate(steps):
            x = x + self._scaled(step(self.norms(x, index)))
        return x

    def _sandwich(self, x: Tensor, steps: list[Callable[[Tensor], Tensor]]) -> Tensor:
        for index, step in enumerate(steps):
            x = x + self._scaled(self.norms(step(self.norms(x, 2 * index)), 2 * index + 1))
        return x

    def _normed_residual(self, x: Tensor, steps: list[Callable[[Tensor], Tensor]]) -> Tensor:
        for index, step in enumerate(steps):
            x = self.norms(x, index)
            x = step(x).add_(x, alpha=self.alpha)
        return x

    def _dense_residual(self, x: Tensor, steps: list[Callable[[Tensor], Tensor]]) -> Tensor:
        attention, dense, experts = steps
        middle = x + attention(self.norms(x, 0))
        middle = middle + dense(self.norms(middle, 1))
        return middle.add_(experts(self.norms(x, 2)))

    def _shortcut(self, x: Tensor, steps: list[Callable[[Tensor], Tensor]]) -> Tensor:
        first, second, dense_first, dense_second, experts = steps
        x = x + first(self.norms(x, 0))
        normed = self.norms(x, 1)
        shortcut = experts(normed)
        x = x + dense_first(normed)
        x = x + second(self.norms(x, 2))
        return x + dense_second(self.norms(x, 3)).add_(shortcut)

    def _parallel_sandwich(self, x: Tensor, steps: list[Callable[[Tensor], Tensor]], call: Call) -> Tensor:
        attention, dense, _ = steps
        x = x + self.norms(attention(self.norms(x, 0)), 1)
        experts = self.ffns[1]
        assert isinstance(experts, Moe)
        both = self.norms(dense(self.norms(x, 2)), 3)
        both.add_(self.norms(experts(self.norms(x, 4), call, routed_by_BTD=x), 5))
        x = x + self.norms(both, 6)
        scalar = self.extra.named("layer_scalar")
        return x if scalar is None else x.mul_(scalar)


def norms_of(flow: str, blocks: int) -> int:
    """Norms that a layer of `blocks` blocks needs."""
    return {"sandwich": 2 * blocks, "shortcut": 4, "parallel-sandwich": 7}.get(flow, blocks)

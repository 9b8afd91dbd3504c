"""The residual stream through the layers of a stack: what each flow holds beside the block that runs.

A layer's input is held by its caller until the layer returns, whatever is added to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.spec.flows import block_names
from moe_plan.witness.moments import hyper
from moe_plan.witness.moments.blocks import feed, mix
from moe_plan.witness.moments.norm import residual_norm
from moe_plan.witness.moments.tape import Module

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moe_plan.spec.attention import AnyAttention
    from moe_plan.spec.ffn import AnyFfn
    from moe_plan.spec.model import ModelSpec, Part
    from moe_plan.spec.model import Run as LayerRun
    from moe_plan.witness.moments.blocks import Counts
    from moe_plan.witness.moments.tape import Run, Tape


class Walk(NamedTuple):
    """A stack that is walked through: its tape, its sizes, and how its tokens were routed."""

    tape: Tape
    spec: ModelSpec
    part: ModelSpec | Part
    name: str
    run: Run
    counts: Mapping[Module, Counts]

    def normed(self) -> int:
        """A norm of the residual stream."""
        return residual_norm(self.tape, self.part.norm or self.spec.norm, self.run)

    def through(self, module: Module) -> int:
        """A block, its input freed after it; returns the bytes of its output."""
        with self.tape.within(module):
            counts = self.counts.get(module, ())
            if module.slot == "attention":
                norm = self.part.norm or self.spec.norm
                return mix(self.tape, self.mixer(module.name), self.run, norm, counts)
            return feed(self.tape, self.network(module.name), self.run, counts)

    def mixer(self, name: str) -> AnyAttention:
        """The attention block of that name."""
        return self.part.attention.get(name) or self.spec.attention[name]

    def network(self, name: str) -> AnyFfn:
        """The feed-forward block of that name."""
        return self.part.ffn.get(name) or self.spec.ffn[name]

    def after_norm(self, module: Module) -> int:
        """A block on a norm of the stream; returns the bytes of its output."""
        normed = self.normed()
        out = self.through(module)
        self.tape.give(normed)
        return out

    def renormed(self, out: int) -> int:
        """A norm of what a block returned, which is freed."""
        again = self.normed()
        self.tape.give(out)
        return again

    def added(self, stream: int, out: int) -> int:
        """Stream and output in a new sum; both are freed. The layer's own input is 0 here: it stays."""
        total = self.tape.take(self.run.wide)
        self.tape.give(stream, out)
        return total


def moments(walk: Walk) -> int:
    """All layers and the final norm; the stack's input is live already.

    Returns the bytes of the output, 0 where it is the input: nothing was done to it.
    """
    tape, streams = walk.tape, walk.part.hyper_connections
    x = tape.take(streams * walk.run.wide) if streams is not None else 0
    for index, layer in enumerate(layers_of(walk.part.layers)):
        modules = modules_of(walk.name, index, layer)
        if modules:
            out = through_layer(walk, layer, modules)
            tape.give(x)
            x = out
    if streams is not None:
        collapsed = hyper.head(tape, streams, walk.run)
        tape.give(x)
        x = collapsed
    if walk.part.final_norm:
        normed = walk.normed()
        tape.give(x)
        x = normed
    return x


def layers_of(runs: tuple[LayerRun, ...]) -> list[LayerRun]:
    """The run of each layer, first layer first."""
    return [
        layer for run in runs for layer in (layers_of(run.pattern) if run.pattern else [run]) * run.repeat
    ]


def modules_of(part: str, index: int, layer: LayerRun) -> list[Module]:
    """The blocks of a layer in their order."""
    named = {"attention": block_names(layer.attention), "ffn": block_names(layer.ffn)}
    return [
        Module(part, index, slot, name, number)
        for slot, names in named.items()
        for number, name in enumerate(names)
    ]


def through_layer(walk: Walk, layer: LayerRun, modules: list[Module]) -> int:
    """One layer; its input is live already and stays. Returns the bytes of its output."""
    if walk.part.hyper_connections is not None:
        return _streams(walk, modules, walk.part.hyper_connections)
    return {
        "sequential": _sequential,
        "sandwich": _sandwich,
        "normed-residual": _normed_residual,
        "dense-residual": _dense_residual,
        "shortcut": _shortcut,
        "parallel-sandwich": _parallel_sandwich,
    }[layer.flow](walk, modules)


def _streams(walk: Walk, modules: list[Module], streams: int) -> int:
    tape, x, old = walk.tape, 0, hyper.Read(0, 0)
    for module in modules:
        read = hyper.read(tape, streams, walk.run)
        tape.give(*old)
        old = read
        out = walk.after_norm(module)
        written = hyper.write(tape, streams, walk.run)
        tape.give(x, out)
        x = written
    tape.give(*old)
    return x


def _sequential(walk: Walk, modules: list[Module]) -> int:
    x = 0
    for module in modules:
        x = walk.added(x, walk.after_norm(module))
    return x


def _sandwich(walk: Walk, modules: list[Module]) -> int:
    x = 0
    for module in modules:
        x = walk.added(x, walk.renormed(walk.after_norm(module)))
    return x


def _normed_residual(walk: Walk, modules: list[Module]) -> int:
    """A block's output takes the residual in, in place."""
    x = 0
    for module in modules:
        x = walk.renormed(x)
        out = walk.through(module)
        walk.tape.give(x)
        x = out
    return x


def _dense_residual(walk: Walk, modules: list[Module]) -> int:
    attention, dense, experts = modules
    middle = walk.added(0, walk.after_norm(attention))
    middle = walk.added(middle, walk.after_norm(dense))
    walk.tape.give(walk.after_norm(experts))
    return middle


def _shortcut(walk: Walk, modules: list[Module]) -> int:
    first, second, dense_first, dense_second, experts = modules
    x = walk.added(0, walk.after_norm(first))
    normed = walk.normed()
    shortcut = walk.through(experts)
    x = walk.added(x, walk.through(dense_first))
    x = walk.added(x, walk.after_norm(second))
    x = walk.added(x, walk.after_norm(dense_second))
    walk.tape.give(normed, shortcut)
    return x


def _parallel_sandwich(walk: Walk, modules: list[Module]) -> int:
    attention, dense, experts = modules
    x = walk.added(0, walk.renormed(walk.after_norm(attention)))
    both = walk.renormed(walk.after_norm(dense))
    walk.tape.give(walk.renormed(walk.after_norm(experts)))
    x = walk.added(x, walk.normed())
    walk.tape.give(both)
    return x

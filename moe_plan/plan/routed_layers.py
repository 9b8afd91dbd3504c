"""The layers of a model that route, and what their tokens choose among."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.errors import InputError, Problem
from moe_plan.replica.unfold import block_names, layers_of
from moe_plan.spec.routing_layers import Pool, spans

if TYPE_CHECKING:
    from moe_plan.spec.ffn import MoeFfn
    from moe_plan.spec.model import ModelSpec


class Routed(NamedTuple):
    """One decoder layer with routed experts."""

    layer: int
    """Counted from 0."""
    name: str
    """Its block in the spec; the first one, where it has several that route."""
    block: MoeFfn

    @property
    def pool(self) -> Pool:
        """What one of its tokens chooses among."""
        return Pool(self.block.experts + self.block.zero_experts, self.block.top_k)


def routed_layers(spec: ModelSpec) -> dict[int, Routed]:
    """The decoder layers of `spec` that route, by number."""
    found: dict[int, Routed] = {}
    for layer, run in enumerate(layers_of(spec.layers)):
        for name in block_names(run.ffn):
            block = spec.ffn[name]
            if block.kind == "moe" and layer not in found:
                found[layer] = Routed(layer, name, block)
    return found


def routed_layer(spec: ModelSpec, layer: int | None) -> Routed:
    """Decoder layer `layer`, or the first that routes. Raises InputError where it does not, or none does."""
    found = routed_layers(spec)
    if not found:
        message = "no layer of it routes tokens to experts, so that there is nothing to profile"
        raise InputError([Problem("MP306", spec.name, None, None, "", message)])
    if layer is None:
        return next(iter(found.values()))
    if layer not in found:
        message = f"layer {layer} routes no tokens to experts; those that do are {spans(found)}"
        raise InputError([Problem("MP306", spec.name, None, None, "layer", message)])
    return found[layer]

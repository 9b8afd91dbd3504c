"""Cache and state of every layer: what a real forward keeps, against the inventory.

A compressor also holds the projections of the tokens that its next entry is made of. They are working memory,
not cache, and no part of what the calculator counts; here they are predicted from the compressor's weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.witness.lines import compared
from moe_plan.witness.names import Place, rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.anatomy.inventory import Block, Inventory, State
    from moe_plan.plan.ledger import Line
    from moe_plan.replica.cache import Cache

Sizes = dict[Place, float]


def cache_lines(group: str, inventory: Inventory, cache: Cache, itemsize: int, source: int) -> Iterator[Line]:
    """Bytes held by every state of every layer after `cache.tokens` tokens of each sequence."""
    predicted = predicted_bytes(inventory, cache.tokens, itemsize, source)
    measured: Sizes = {}
    for held in cache.held():
        where = Place("decoder", held.layer, held.name)
        measured[where] = measured.get(where, 0) + held.elements * held.itemsize
    yield from compared(group, "bytes", {w: b * cache.batch for w, b in predicted.items()}, measured)


def allocated_lines(group: str, inventory: Inventory, cache: Cache, itemsize: int) -> Iterator[Line]:
    """Bytes that torch allocated for a cache of its whole capacity; an encoder's output may be as long."""
    predicted = predicted_bytes(inventory, cache.capacity, itemsize, cache.capacity)
    measured: Sizes = {}
    for held in cache.held():
        where = Place("decoder", held.layer, held.name)
        measured[where] = measured.get(where, 0) + held.allocated_bytes
    yield from compared(group, "bytes", {w: b * cache.batch for w, b in predicted.items()}, measured)


def predicted_bytes(inventory: Inventory, context: int, itemsize: int, source: int) -> Sizes:
    """Bytes of one sequence of `context` tokens, state by state; `itemsize` is the model's own type."""
    sizes: Sizes = {}
    for block, layer in rows(inventory):
        for state in block.states:
            entries = 1 if state.reach is None else state.reach.entries(source if state.source else context)
            size = state.elements * entries * _width(state, itemsize)
            sizes[Place(block.part, layer, state.name)] = size
        for name, elements in _waiting(block, context) if block.role == "decoder" else ():
            sizes[Place(block.part, layer, name)] = elements * itemsize
    return sizes


def _waiting(block: Block, context: int) -> Iterator[tuple[str, int]]:
    """What every compressor of `block` holds for its next entry, in elements of one sequence.

    An entry is made of `ratio` tokens, and of as many before them where its projections are twice as wide as
    the entry: then the entries overlap.
    """
    shapes = {weight.name: weight.shape for weight in block.weights}
    for name, shape in shapes.items():
        owner, _, attribute = name.rpartition(".")
        if attribute != "position_bias" or f"{owner}.kv_norm" not in shapes:
            continue
        ratio, width = shape
        tokens = min(context, ratio * (width // shapes[f"{owner}.kv_norm"][0]))
        yield f"{owner}.pending_kv", tokens * width
        yield f"{owner}.pending_gate", tokens * width


def _width(state: State, itemsize: int) -> int:
    """Bytes of an element: recurrent states are kept in float32, everything else in the model's type."""
    return 4 if state.dtype == "fp32" else itemsize

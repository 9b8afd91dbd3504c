"""Which part of an inventory is looked at: one layer, one component, or all of it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

from moe_plan.errors import InputError, Problem, UsageError
from moe_plan.text import did_you_mean, one_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from moe_plan.anatomy.inventory import Block, Inventory, Weight

LAYER_DIGITS = 9


class Scope(NamedTuple):
    """A layer of a part, and a component; None asks for all."""

    part: str = "decoder"
    layer: int | None = None
    component: str | None = None

    def holds(self, component: str) -> bool:
        """Whether rows of `component` are asked for."""
        return self.component is None or self.component == component


def scope(layer: str | None, component: str | None) -> Scope:
    """From `--layer 3` or `--layer encoder:3`, and `--component`. Raises UsageError."""
    if layer is None:
        return Scope(component=component)
    part, _, number = layer.rpartition(":")
    if not (number.isascii() and number.isdigit() and len(number) <= LAYER_DIGITS):
        message = f"--layer takes a number, or a part and a number as in encoder:3, not {layer[:80]!r}"
        raise UsageError(message)
    return Scope(part or "decoder", int(number), component)


def selected(inventory: Inventory, asked: Scope) -> tuple[Block, ...]:
    """The blocks asked for, a single layer counted once. Raises InputError for what is not there."""
    _check_component(inventory, asked.component)
    if asked.layer is None:
        return inventory.blocks
    found = [b for b in inventory.blocks if b.part == asked.part and asked.layer in b.layers]
    if not found:
        raise InputError((_no_such_layer(inventory, asked),))
    return tuple(dataclasses.replace(block, layers=(asked.layer,)) for block in found)


def weights_asked(block: Block, asked: Scope) -> tuple[Weight, ...]:
    """Weights of `block` of the component asked for."""
    return tuple(weight for weight in block.weights if asked.holds(weight.component))


def ranges(layers: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """`0, 1, 2, 5` -> `(0, 2), (5, 5)`."""
    result: list[tuple[int, int]] = []
    for layer in sorted(layers):
        if result and result[-1][1] == layer - 1:
            result[-1] = (result[-1][0], layer)
        else:
            result.append((layer, layer))
    return tuple(result)


def nothing_asked(name: str, asked: Scope) -> Problem:
    """A layer that is there and a component that is there, but not in that layer."""
    message = f"{name}: {asked.part}:{asked.layer} has none of this component"
    return Problem("MP305", "", None, None, asked.component or "", message)


def _check_component(inventory: Inventory, component: str | None) -> None:
    known = tuple(dict.fromkeys(w.component for block in inventory.blocks for w in block.weights))
    if component is None or component in known:
        return
    hint, has = did_you_mean(component, known), ", ".join(known)
    message = f"{inventory.name} has none of this component{hint}; it has {has}"
    raise InputError((Problem("MP305", "", None, None, component, message),))


def _no_such_layer(inventory: Inventory, asked: Scope) -> Problem:
    counts: dict[str, int] = {}
    for block in inventory.blocks:
        if block.layers:
            counts[block.part] = counts.get(block.part, 0) + len(block.layers)
    if asked.part in counts:
        message = f"{inventory.name}: {asked.part} has layers 0 to {counts[asked.part] - 1}"
    else:
        hint = did_you_mean(asked.part, counts)
        message = (
            f"{inventory.name} has no part {asked.part} with layers{hint}; it has {one_of(counts, 'and')}"
        )
    return Problem("MP304", "", None, None, f"{asked.part}:{asked.layer}", message)

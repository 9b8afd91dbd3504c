"""The text model of a spec: decoder and encoders, with the blocks that they use and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from moe_plan.spec.stacks import SLOTS, Slot, runs, uses

if TYPE_CHECKING:
    from moe_plan.spec.model import ModelSpec, Part, Run

Block = TypeVar("Block")


def text_model(spec: ModelSpec) -> ModelSpec:
    """`spec` without MTP modules, towers and projectors, unused blocks, and the formats of its releases.

    A replica holds every tensor in one data type, so that what a release stores how says nothing of it.
    """
    encoders = {name: part for name, part in spec.parts.items() if part.role == "encoder"}
    update: dict[str, object] = {slot: _shared(spec, encoders, slot) for slot in SLOTS}
    update["parts"] = {
        name: part.model_copy(update={slot: _own(part, slot) for slot in SLOTS})
        for name, part in encoders.items()
    }
    update["native"] = spec.native.model_copy(update={"rules": (), "stores_tied_head": False})
    return spec.model_copy(update=update | {"checkpoints": {}})


def _shared(spec: ModelSpec, encoders: dict[str, Part], slot: Slot) -> dict[str, object]:
    """The model's blocks that the decoder names, or an encoder that has none of its own of that name."""
    named = _names(spec.layers, slot)
    for part in encoders.values():
        named |= _names(part.layers, slot) - set(_blocks(part, slot))
    return _only(_blocks(spec, slot), named)


def _own(part: Part, slot: Slot) -> dict[str, object]:
    return _only(_blocks(part, slot), _names(part.layers, slot))


def _blocks(part: ModelSpec | Part, slot: Slot) -> dict[str, object]:
    return {**(part.attention if slot == "attention" else part.ffn)}


def _names(layers: tuple[Run, ...], slot: Slot) -> set[str]:
    return {use.name for run, path, _ in runs(layers, ()) for use in uses(run, path) if use.slot == slot}


def _only(blocks: dict[str, Block], names: set[str]) -> dict[str, Block]:
    return {name: block for name, block in blocks.items() if name in names}

"""This machine, and what the catalogue knows of its accelerators."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.hardware.local import recognised

if TYPE_CHECKING:
    from moe_plan.hardware.machine import Machine
    from moe_plan.hardware.resolve import Shelf


class SeenGpu(NamedTuple):
    """One accelerator of this machine."""

    name: str
    vendor: str
    memory_bytes: int
    """As its driver reports it."""
    usable: int | None
    """Bytes that programs can have."""
    taken_as: str


class Seen(NamedTuple):
    """This machine, and what the catalogue knows of its accelerators."""

    machine: Machine
    gpus: tuple[SeenGpu, ...]
    notes: tuple[str, ...]


def seen(machine: Machine, on: Shelf) -> Seen:
    """`machine` with its accelerators recognised."""
    gpus, notes = [], list(machine.notes)
    for found in machine.accelerators:
        device, said = recognised(found, on.catalogue, on.by_name)
        memory = device.memory()
        is_known = device.spec.name in on.catalogue.accelerators
        gpus.append(
            SeenGpu(
                *found, memory.bytes if memory else None, device.name if is_known else "not in the catalogue"
            )
        )
        notes += said
    return Seen(machine, tuple(gpus), tuple(dict.fromkeys(notes)))

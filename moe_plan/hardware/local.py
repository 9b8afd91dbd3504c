"""`local`: this machine as a cluster to plan for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from moe_plan.errors import UnavailableError
from moe_plan.hardware.cluster import Cluster, Device, Part, die_of, far_link, node_link
from moe_plan.hardware.figures import LINKS, MEMORY, RATES, Figure, figure
from moe_plan.hardware.machine import look
from moe_plan.hardware.memory import driver_reserve
from moe_plan.hardware.names import key
from moe_plan.hardware.notation import refused
from moe_plan.spec.locked import Locked
from moe_plan.text import clean

if TYPE_CHECKING:
    from moe_plan.hardware.machine import Machine
    from moe_plan.hardware.names import Index
    from moe_plan.hardware.notation import Written
    from moe_plan.hardware.probes import Found
    from moe_plan.spec.hardware import Accelerator
    from moe_plan.spec.hardware_catalogue import Catalogue

_MIB = 1 << 20
# Two sizes of one card differ by less than a percent; a card of another size by far more.
_SAME_PERCENT = 1
# From what is printed on a card the driver's figure differs by up to a thirteenth.
_ABOUT_PERCENT = 8
_SLICE = re.compile(r"(.+) MIG ([1-9]g\.[0-9]+gb(?:\+(?:me|gfx))?)$", re.IGNORECASE)
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


def local_cluster(
    asked: Written, catalogue: Catalogue, index: Index, machine: Machine | None = None
) -> Cluster:
    """The accelerators of this machine, or the first so many of them.

    Raises UnavailableError where there is none, InputError where they are of several kinds or too few.
    """
    machine = machine or look()
    if not machine.accelerators:
        ways = "; ".join(f"{probe.way}: {probe.outcome}" for probe in machine.probes)
        message = f"no accelerator was found on this machine ({ways}); name one instead of local"
        raise UnavailableError(message)
    kinds = dict.fromkeys((found.name, found.memory_bytes) for found in machine.accelerators)
    if len(kinds) > 1:
        shown = ", ".join(dict.fromkeys(clean(name, 40) for name, _ in kinds))
        raise refused(asked.text, f"this machine has accelerators of several kinds ({shown}); name one")
    count = asked.number or len(machine.accelerators)
    if count > len(machine.accelerators):
        raise refused(asked.text, f"this machine has {len(machine.accelerators)}")
    device, notes = recognised(machine.accelerators[0], catalogue, index)
    joined = count > 1 and (device.part is None or device.part == die_of(device.spec))
    nodes = asked.nodes or 1
    return Cluster(
        asked.text,
        device,
        nodes,
        count,
        count if joined else 1,
        node_link(device.spec, None) if joined else None,
        far_link(device.spec) if nodes > 1 else None,
        _host_memory(machine),
        "local",
        (*machine.notes, *notes),
    )


def _host_memory(machine: Machine) -> Figure | None:
    total = machine.host_memory_bytes
    if total is None:
        return None
    printed = f"{total // _MIB} MiB"
    return Figure(
        "host_memory", printed, total, "kernel", "observed-once", "the kernel of this machine", None, ()
    )


def recognised(found: Found, catalogue: Catalogue, index: Index) -> tuple[Device, tuple[str, ...]]:
    """The catalogue's entry for what the driver names, with notes; its memory alone where there is none."""
    part = _SLICE.fullmatch(found.name)
    spec = _named(part[1] if part else found.name, found, catalogue, index)
    shown = clean(found.name, 60)
    if spec is None:
        note = f"{shown} is not in the catalogue: of it only the memory is known"
        return Device(_stranger(found)), (note,)
    if part is not None and spec.mig is not None and part[2].casefold() in spec.mig.profiles:
        cut = spec.mig.profiles[part[2].casefold()]
        shares = (cut.compute, spec.mig.compute_slices), (cut.memory, spec.mig.memory_slices)
        sliced = Device(spec, Part(part[2].casefold(), *shares), found_memory_bytes=found.memory_bytes)
        return sliced, (f"{shown} is taken as {sliced.name}",)
    note = f"{shown} is taken as {spec.name}"
    die = die_of(spec)
    if not found.memory_bytes or (die is None and _is_same_size(spec, found)):
        return Device(spec, die), (note,)
    size = f"its driver reports {found.memory_bytes // _MIB:,} MiB"
    usable = found.memory_bytes - driver_reserve(found.vendor, found.memory_bytes)
    return Device(spec, die, found_memory_bytes=max(0, usable)), (note, size)


def _named(name: str, found: Found, catalogue: Catalogue, index: Index) -> Accelerator | None:
    """By name; of a family the one of this size, or else its default."""
    entry = index.entries.get(key(name))
    if entry is not None and entry.kind == "accelerator":
        return catalogue.accelerators[entry.name]
    family = [catalogue.accelerators[member] for member in index.families.get(key(name), ())]
    return next((spec for spec in family if _is_about_size(spec, found)), family[0] if family else None)


def _is_about_size(spec: Accelerator, found: Found) -> bool:
    marketed = figure(spec, "memory.marketed")
    if marketed is None:
        return _is_same_size(spec, found)
    return abs(marketed.amount - found.memory_bytes) * 100 <= marketed.amount * _ABOUT_PERCENT


def _is_same_size(spec: Accelerator, found: Found) -> bool:
    driver = figure(spec, "memory.driver")
    if driver is None:
        return False
    return abs(driver.amount - found.memory_bytes) * 100 <= driver.amount * _SAME_PERCENT


def _stranger(found: Found) -> Accelerator:
    """A stand-in with the fields of a spec, of which only the driver's figure is set."""
    name = _NOT_IN_NAMES.sub("-", clean(found.name, 60)).strip("-.").casefold() or "unknown"
    printed = f"{found.memory_bytes // _MIB} MiB"
    size = (
        Locked({"value": printed, "source": "driver", "note": None, "also": ()})
        if found.memory_bytes
        else None
    )
    memory: dict[str, Any] = dict.fromkeys(MEMORY)
    fields: dict[str, Any] = {
        "kind": "accelerator",
        "name": name,
        "title": clean(found.name, 60),
        "vendor": found.vendor,
        "type": "gpu",
        "status": "available",
        "dies": 1,
        "family": None,
        "family_default": False,
        "aliases": (),
        "sources": {"driver": Locked({"confidence": "observed-once", "ref": "the driver of this machine"})},
        "memory": Locked({"kind": "unified" if found.vendor == "apple" else "hbm", **memory, "driver": size}),
        "rates": Locked(dict.fromkeys(RATES)),
        "links": Locked(dict.fromkeys(LINKS)),
        "power": None,
        "node": None,
        "slices": None,
        "mig": None,
        "unconfirmed": {},
        "note": None,
    }
    return cast("Accelerator", Locked(fields))

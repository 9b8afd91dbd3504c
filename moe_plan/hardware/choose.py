"""Which hardware a name stands for: exactly one, or an error with the nearest names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from moe_plan.hardware.cluster import Device, Part, die_of
from moe_plan.hardware.memory import GIB
from moe_plan.hardware.names import Entry, key, names
from moe_plan.hardware.notation import Written, refused
from moe_plan.text import nearest, one_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moe_plan.hardware.names import Index
    from moe_plan.spec.hardware import Accelerator, System
    from moe_plan.spec.hardware_catalogue import Catalogue

_GIVEN_MEMORY = re.compile(r"(.+?)[-_ ]?([0-9]{1,5}) ?(?:GB|GiB|G)", re.IGNORECASE)
_GROUP = re.compile(r"(.+)-([0-9]{1,6})")
_SHOWN = 8


class Chosen(NamedTuple):
    """What a name stands for."""

    name: str
    device: Device
    system: System | None = None
    instance: str | None = None
    cloud: str = ""
    chips: int | None = None
    """Of a group of chips that its name counts."""
    notes: tuple[str, ...] = ()


def chosen(asked: Written, catalogue: Catalogue, index: Index) -> Chosen:
    """The one entry that is meant. Raises InputError, code MP307 or MP309."""
    if asked.is_path:
        return _from_file(asked, catalogue)
    if asked.slice and key(asked.name) in ("", "com"):
        return _of_profile(asked, catalogue)
    group = _group(asked, catalogue, index)
    if group is not None:
        return group
    entry = index.entries.get(key(asked.name))
    if entry is None or entry.kind == "accelerator":
        return _of_accelerators(asked, catalogue, index)
    if asked.memory_gb is not None or asked.slice:
        raise refused(asked.text, f"{entry.name} is a whole machine; memory and slices are an accelerator's")
    if entry.kind == "system":
        system = catalogue.systems[entry.name]
        device = Device(catalogue.accelerators[system.accelerator])
        return _checked(asked, Chosen(entry.name, device, system))
    instance = catalogue.clouds[entry.cloud].instances[entry.name]
    device = Device(catalogue.accelerators[instance.accelerator])
    return _checked(asked, Chosen(entry.name, device, None, entry.name, entry.cloud))


def unknown(asked: Written, catalogue: Catalogue) -> Exception:
    """The error about a name that nothing bears, with the nearest."""
    by_key = {key(name): name for name, _ in names(catalogue)}
    by_key |= {key(spec.family): spec.family for spec in catalogue.accelerators.values() if spec.family}
    near = nearest(key(asked.name), by_key)
    shown = one_of(by_key[name] for name in near)
    hint = (
        f"did you mean {shown}?" if near else "`moe-plan hardware` lists it, and a path to a YAML works too"
    )
    return refused(asked.text, f"no hardware of this name in the catalogue; {hint}", "MP307")


def _from_file(asked: Written, catalogue: Catalogue) -> Chosen:
    from moe_plan.spec.hardware_load import load_hardware  # noqa: PLC0415  the catalogue needs no pydantic

    spec, warnings = load_hardware(asked.name, catalogue.accelerators)
    notes = tuple(warning.render() for warning in warnings)
    if spec.kind == "accelerator":
        device = Device(spec, given_memory_bytes=_given_bytes(asked.memory_gb))
        return _with_part(asked, Chosen(spec.name, device, notes=notes))
    if spec.kind == "system":
        return Chosen(spec.name, Device(catalogue.accelerators[spec.accelerator]), spec, notes=notes)
    raise refused(asked.text, "a cloud's file holds many machines; name one accelerator or system")


def _group(asked: Written, catalogue: Catalogue, index: Index) -> Chosen | None:
    """`v5litepod-8`: chips under a name that counts their cores."""
    found = _GROUP.fullmatch(asked.name)
    if found is None or key(asked.name) in index.entries:
        return None
    begin = key(found[1])
    name, cores = index.slices.get(begin) or index.slices.get(begin.removeprefix("tpu")) or ("", 0)
    if not cores:
        return None
    number = int(found[2])
    if number == 0 or number % cores or asked.number:
        message = (
            f"{found[1]} counts cores, {cores} a chip; write {found[1]}-{max(number, 1) * cores} or {name}:N"
        )
        raise refused(asked.text, "the count stands twice" if asked.number else message)
    chips = number // cores
    notes = (f"{asked.name} counts {number} cores: {chips} chips",) if cores > 1 else ()
    return _checked(asked, Chosen(name, Device(catalogue.accelerators[name]), chips=chips, notes=notes))


def _of_accelerators(asked: Written, catalogue: Catalogue, index: Index) -> Chosen:
    candidates = _named(asked.name, catalogue, index)
    memory_gb = asked.memory_gb
    if not candidates and (found := _GIVEN_MEMORY.fullmatch(asked.name)) and memory_gb is None:
        candidates, memory_gb = _named(found[1], catalogue, index), float(found[2])
    if not candidates:
        raise unknown(asked, catalogue)
    fitting = _of_vendor(asked, candidates)
    if memory_gb is not None:
        fitting = _of_memory(asked, fitting, memory_gb)
    if asked.slice:
        fitting = _of_slice(asked, fitting)
    spec = fitting[0]
    given = _given_bytes(memory_gb) if spec.memory.kind == "unified" else None
    others = tuple(other.name for other in fitting[1:])
    notes = (f"{asked.name} is taken as {spec.name}, and not {one_of(others)}",) if others else ()
    return _with_part(asked, Chosen(spec.name, Device(spec, given_memory_bytes=given), notes=notes))


def _named(name: str, catalogue: Catalogue, index: Index) -> tuple[Accelerator, ...]:
    """The accelerator of this name, or all of a family, its default first."""
    entry: Entry | None = index.entries.get(key(name))
    if entry is not None and entry.kind == "accelerator":
        return (catalogue.accelerators[entry.name],)
    return tuple(catalogue.accelerators[member] for member in index.families.get(key(name), ()))


def _of_vendor(asked: Written, candidates: Sequence[Accelerator]) -> Sequence[Accelerator]:
    fitting = [spec for spec in candidates if asked.vendor in ("", spec.vendor)]
    if not fitting:
        message = f"{candidates[0].name} is made by {candidates[0].vendor}, not {asked.vendor}"
        raise refused(asked.text, message, "MP309")
    return fitting


def _of_memory(asked: Written, candidates: Sequence[Accelerator], given: float) -> Sequence[Accelerator]:
    fitting = [spec for spec in candidates if spec.memory.kind == "unified" or given in _sizes(spec)]
    if not fitting:
        known = one_of(_described(spec) for spec in candidates)
        message = f"no {asked.name} with {given:g} GB; known: {known}; a YAML of your own says another size"
        raise refused(asked.text, message, "MP309")
    return fitting


def _of_slice(asked: Written, candidates: Sequence[Accelerator]) -> Sequence[Accelerator]:
    fitting = [spec for spec in candidates if spec.mig is not None and asked.slice in spec.mig.profiles]
    if not fitting:
        known = sorted({name for spec in candidates if spec.mig is not None for name in spec.mig.profiles})
        message = f"no slice {asked.slice} of {asked.name}; known: {', '.join(known) or 'none'}"
        raise refused(asked.text, message, "MP309")
    return fitting


def _of_profile(asked: Written, catalogue: Catalogue) -> Chosen:
    """A slice named without its GPU."""
    bearers = [
        spec for spec in catalogue.accelerators.values() if spec.mig and asked.slice in spec.mig.profiles
    ]
    if not bearers:
        known = {name for spec in catalogue.accelerators.values() if spec.mig for name in spec.mig.profiles}
        near = one_of(nearest(asked.slice, sorted(known))) or ", ".join(sorted(known)[:_SHOWN])
        raise refused(asked.text, f"no GPU has a slice {asked.slice}; near: {near}", "MP309")
    bearers.sort(key=lambda spec: not (spec.mig and spec.mig.default))
    others = one_of(spec.name for spec in bearers[1:])
    notes = (
        (f"{asked.slice} is taken as a slice of {bearers[0].name}, and not of {others}",) if others else ()
    )
    return _with_part(asked, Chosen(bearers[0].name, Device(bearers[0]), notes=notes))


def _with_part(asked: Written, found: Chosen) -> Chosen:
    if not asked.slice:
        return _with_dies(asked, found)
    mig = found.device.spec.mig
    cut = mig.profiles.get(asked.slice) if mig is not None else None
    if mig is None or cut is None:
        raise refused(asked.text, f"no slice {asked.slice} of {found.name}", "MP309")
    compute, memory = (cut.compute, mig.compute_slices), (cut.memory, mig.memory_slices)
    return found._replace(device=found.device._replace(part=Part(asked.slice, compute, memory)))


def _with_dies(asked: Written, found: Chosen) -> Chosen:
    """A package that software sees as several devices is several devices."""
    die, dies = die_of(found.device.spec), found.device.spec.dies
    if die is None:
        return found
    packages = asked.number or 1
    note = f"{packages} {found.name} are {packages * dies} devices to software, {dies} in a package"
    return found._replace(
        device=found.device._replace(part=die), chips=packages * dies, notes=(*found.notes, note)
    )


def _checked(asked: Written, found: Chosen) -> Chosen:
    _of_vendor(asked, (found.device.spec,))
    return found


def _sizes(spec: Accelerator) -> tuple[float, ...]:
    printed = (spec.memory.marketed, *(spec.memory.marketed.also if spec.memory.marketed else ()))
    return tuple(float(size.value.partition(" ")[0]) for size in printed if size is not None)


def _described(spec: Accelerator) -> str:
    return f"{spec.name} ({spec.memory.marketed.value})" if spec.memory.marketed else spec.name


def _given_bytes(memory_gb: float | None) -> int | None:
    """RAM of a machine is sold in GiB, whatever it is called."""
    return None if memory_gb is None else int(memory_gb * GIB)

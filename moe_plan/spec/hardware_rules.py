"""Rules across the fields of a hardware file, after every value has been found to be of its type."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pydantic import BaseModel

from moe_plan.errors import ERRORS_SHOWN, InputError
from moe_plan.spec.finding import Finding, placed
from moe_plan.spec.hardware import PROFILE_FORM, Accelerator, Cloud, HardwareSpec, System
from moe_plan.spec.hardware_figures import Bandwidth, Power, Rate, Size
from moe_plan.text import did_you_mean
from moe_plan.units import quantity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from moe_plan.spec.yaml_reader import Document, Path

# What a slip of a unit leaves: a GPU of 80 MB, a link of 450 TB/s. Zero is below all of them.
_BELIEVABLE: dict[type[BaseModel], tuple[int, int]] = {
    Size: (10**9, 10**15),
    Bandwidth: (10**9, 10**15),
    Rate: (10**10, 10**18),
    Power: (1, 10**6),
}


def checked_hardware(spec: HardwareSpec, document: Document, accelerators: Collection[str]) -> None:
    """Raise InputError where `spec` does not hold together; `accelerators` are those that it may name."""
    errors = [placed(finding, document) for finding in _findings(spec, accelerators)]
    if errors:
        errors.sort(key=lambda problem: (problem.line or 0, problem.column or 0))
        raise InputError(errors[:ERRORS_SHOWN], more=max(0, len(errors) - ERRORS_SHOWN))


def _findings(spec: HardwareSpec, accelerators: Collection[str]) -> Iterator[Finding]:
    for path, part in _parts(spec, ()):
        yield from _sourced(part, path, spec.sources)
        yield from _believable(part, path)
    match spec:
        case Accelerator():
            yield from _accelerator(spec)
        case System():
            yield from _named(spec.accelerator, ("accelerator",), accelerators)
            yield from _domain(spec)
        case Cloud():
            for name, instance in spec.instances.items():
                yield from _named(instance.accelerator, ("instances", name, "accelerator"), accelerators)


def _parts(value: object, path: Path) -> Iterator[tuple[Path, BaseModel]]:
    """Every spec class inside `value`, with its path."""
    if isinstance(value, BaseModel):
        yield path, value
        for name in type(value).model_fields:
            yield from _parts(getattr(value, name), (*path, name))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _parts(item, (*path, key))
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _parts(item, (*path, index))


def _sourced(part: BaseModel, path: Path, sources: Collection[str]) -> Iterator[Finding]:
    source = getattr(part, "source", None)
    if source is not None and source not in sources:
        message = f"no source of this name in the file's sources{did_you_mean(source, sources)}"
        yield Finding("MP160", (*path, "source"), message)


def _believable(part: BaseModel, path: Path) -> Iterator[Finding]:
    bounds = next((bounds for kind, bounds in _BELIEVABLE.items() if isinstance(part, kind)), None)
    text = getattr(part, "value", None)
    if bounds is None or text is None:
        return
    if not bounds[0] <= quantity(text) <= bounds[1]:
        yield Finding("MP162", (*path, "value"), f"{text} is implausible; check the number and its unit")
    elif isinstance(part, Rate) and ("FLOP" in text) == str(path[-1]).startswith("int"):
        unit = "TOP/s" if "FLOP" in text else "TFLOP/s"
        yield Finding("MP162", (*path, "value"), f"the rate of {path[-1]} is given in {unit}")


def _accelerator(spec: Accelerator) -> Iterator[Finding]:
    memory = spec.memory
    if memory.kind != "unified" and not (memory.marketed or memory.driver or memory.usable):
        yield Finding("MP161", ("memory",), "give one of marketed, driver and usable")
    if spec.mig is None:
        return
    for name, part in spec.mig.profiles.items():
        path: Path = ("mig", "profiles", name)
        if not re.fullmatch(PROFILE_FORM, name):
            yield Finding("MP125", path, "expected the name of a profile, such as 1g.10gb")
        elif part.compute > spec.mig.compute_slices or part.memory > spec.mig.memory_slices:
            yield Finding("MP164", path, "takes more slices than the accelerator has")
        elif (part.count or 1) * part.memory > spec.mig.memory_slices:
            yield Finding("MP164", path, f"{part.count} of them need more memory slices than there are")


def _named(name: str, path: Path, accelerators: Collection[str]) -> Iterator[Finding]:
    if name not in accelerators:
        message = f"no accelerator of this name in the catalogue{did_you_mean(name, accelerators)}"
        yield Finding("MP163", path, message)


def _domain(spec: System) -> Iterator[Finding]:
    if spec.domain is not None and spec.domain < spec.per_node:
        yield Finding("MP164", ("domain",), f"a link reaches at least the {spec.per_node} of a node")

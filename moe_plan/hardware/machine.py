"""What is in this machine, and how that was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.errors import UnavailableError
from moe_plan.hardware.cgroup import lines_of
from moe_plan.hardware.host import Available, available_memory
from moe_plan.hardware.probes import (
    Edge,
    Found,
    ProbeError,
    of_amd_smi,
    of_nvidia_smi,
    of_nvml,
    of_sysctl,
    of_sysfs,
)
from moe_plan.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable

_VISIBLE = "CUDA_VISIBLE_DEVICES"
# Of each vendor the first way that finds something; the next are for where it is not there.
_WAYS: tuple[tuple[str, tuple[tuple[str, Callable[[Edge], tuple[Found, ...]]], ...]], ...] = (
    ("nvidia", (("NVML", of_nvml), ("nvidia-smi", of_nvidia_smi))),
    ("amd", (("amd-smi", of_amd_smi), ("sysfs", of_sysfs))),
    ("apple", (("sysctl", of_sysctl),)),
)


class Probe(NamedTuple):
    """One way of looking, and what came of it."""

    way: str
    outcome: str


class Machine(NamedTuple):
    """The accelerators and the memory of this machine."""

    accelerators: tuple[Found, ...]
    probes: tuple[Probe, ...]
    host_memory_bytes: int | None
    """Memory of the machine, whoever may use it."""
    available: Available | None
    """What this process could take now, and what sets the bound."""
    notes: tuple[str, ...] = ()


def look(edge: Edge | None = None) -> Machine:
    """This machine as its drivers and its kernel describe it. Nothing that is missing is an error."""
    edge = edge or Edge()
    found: list[Found] = []
    probes: list[Probe] = []
    notes: list[str] = []
    for vendor, ways in _WAYS:
        for way, probe in ways:
            try:
                here = probe(edge)
            except ProbeError as error:
                probes.append(Probe(way, str(error)))
                continue
            probes.append(Probe(way, f"{len(here)} found"))
            found += _visible(here, edge, notes) if vendor == "nvidia" else here
            break
    total = _total(edge)
    told = tuple(_with_memory(gpu, total, notes) for gpu in found)
    return Machine(told, tuple(probes), total, _available(edge), tuple(notes))


def _with_memory(gpu: Found, total: int | None, notes: list[str]) -> Found:
    if gpu.memory_bytes or total is None:
        return gpu
    notes.append(f"{clean(gpu.name, 60)} tells no memory of its own: it shares the machine's")
    return gpu._replace(memory_bytes=total)


def _visible(here: tuple[Found, ...], edge: Edge, notes: list[str]) -> tuple[Found, ...]:
    """Those that CUDA programs started from this shell would see."""
    wanted = edge.environ.get(_VISIBLE)
    if wanted is None:
        return here
    indices = wanted.split(",") if wanted else []
    if all(index.strip().isdigit() for index in indices):
        kept = tuple(here[int(index)] for index in indices if int(index) < len(here))
        notes.append(f"{_VISIBLE} leaves {len(kept)} of {len(here)} GPUs")
        return kept
    notes.append(f"{_VISIBLE} names GPUs otherwise than by number and is not followed")
    return here


def _total(edge: Edge) -> int | None:
    if edge.platform == "darwin":
        try:
            printed = edge.run(("/usr/sbin/sysctl", "-n", "hw.memsize")).strip()
        except ProbeError:
            return None
        return int(printed) if printed.isdigit() else None
    for line in lines_of(edge.root / "proc/meminfo"):
        name, _, rest = line.partition(":")
        digits = rest.strip().removesuffix(" kB")
        if name == "MemTotal" and digits.isdigit():
            return int(digits) << 10
    return None


def _available(edge: Edge) -> Available | None:
    try:
        return available_memory(edge.root, edge.platform)
    except UnavailableError:
        return None

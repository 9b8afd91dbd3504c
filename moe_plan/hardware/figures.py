"""The figures of a spec as numbers, each with its source; and which of them are not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.units import BYTE_UNITS, quantity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from moe_plan.spec.hardware import Accelerator
    from moe_plan.spec.hardware_figures import Bandwidth, Power, Rate, Size, SourceRef

    Quoted = Bandwidth | Rate | Size | Power

# In the order in which they are shown. A test holds them against the schema.
MEMORY = ("marketed", "driver", "usable", "bandwidth", "measured_bandwidth")
RATES = (
    "fp64",
    "fp64_tensor",
    "fp32",
    "tf32",
    "bf16",
    "fp16",
    "fp16_accumulate_fp16",
    "fp8",
    "fp8_accumulate_fp16",
    "fp6",
    "fp4",
    "int8",
    "int4",
)
LINKS = ("nvlink", "c2c", "xgmi", "xgmi_pair", "ici", "roce", "neuronlink", "pcie", "network")
PLACES = (
    *(f"memory.{name}" for name in MEMORY),
    *(f"rates.{name}" for name in RATES),
    *(f"links.{name}" for name in LINKS),
    "power",
)
EXPECTED = (
    "memory.marketed",
    "memory.driver",
    "memory.usable",
    "memory.bandwidth",
    "rates.bf16",
    "rates.fp16",
    "rates.fp8",
    "rates.int8",
    "power",
)
"""What one would look for in any accelerator: named as absent where it is."""


class Other(NamedTuple):
    """The same figure as another source has it."""

    printed: str
    amount: int
    source: str
    note: str | None


class Figure(NamedTuple):
    """One figure and its source."""

    place: str
    """`memory.driver`, `rates.bf16`, `links.nvlink`, `power`."""
    printed: str
    """As the source has it, with its unit."""
    amount: int
    """In bytes, bytes/s, FLOP/s or W; a GB that is printed on an accelerator is a GiB."""
    source: str
    confidence: str
    ref: str
    note: str | None
    also: tuple[Other, ...]


class Absent(NamedTuple):
    """A figure that is not known, and what circulates in its stead."""

    place: str
    reason: str


def figure(spec: Accelerator, place: str) -> Figure | None:
    """The figure at `place`; None where it is not known."""
    group, _, name = place.partition(".")
    quoted: Quoted | None = getattr(getattr(spec, group), name) if name else getattr(spec, group)
    return None if quoted is None else sourced(quoted, place, spec.sources)


def sourced(quoted: Quoted, place: str, sources: Mapping[str, SourceRef]) -> Figure:
    """One quoted figure with the source that it names."""
    amount = marketing_bytes if place == "memory.marketed" else quantity
    also = tuple(
        Other(other.value, amount(other.value), other.source, other.note)
        for other in getattr(quoted, "also", ())
    )
    source = sources[quoted.source]
    return Figure(
        place,
        quoted.value,
        amount(quoted.value),
        quoted.source,
        source.confidence,
        source.ref,
        quoted.note,
        also,
    )


def marketing_bytes(printed: str) -> int:
    """Bytes that `80 GB` printed on an accelerator stands for: 80 GiB, close to what its driver reports."""
    number, _, unit = printed.partition(" ")
    binary = unit if "i" in unit else f"{unit[0]}iB"
    return int(float(number) * BYTE_UNITS[binary])


def figures(spec: Accelerator) -> tuple[Figure, ...]:
    """Every figure that is known, in the order of PLACES."""
    return tuple(found for place in PLACES if (found := figure(spec, place)) is not None)


def absent(spec: Accelerator) -> tuple[Absent, ...]:
    """What is expected of any accelerator, or told as unconfirmed, and not known of this one."""
    return tuple(_absent(spec, {found.place for found in figures(spec)}))


def _absent(spec: Accelerator, known: set[str]) -> Iterator[Absent]:
    for place in dict.fromkeys((*EXPECTED, *spec.unconfirmed)):
        if place not in known:
            yield Absent(place, spec.unconfirmed.get(place, "no confirmed figure"))

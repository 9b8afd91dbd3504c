"""This machine: its accelerators, its memory, and how they were found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.report import numbers
from moe_plan.report.table import Column, Document, Row, Table, texts
from moe_plan.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moe_plan.plan.this_machine import Seen
    from moe_plan.report.csv import Value

_ACCELERATORS = (
    Column("accelerator", "left"),
    Column("reported"),
    Column("for programs"),
    Column("taken as", "left"),
)
_MEMORY = (Column("memory of the machine", "left"), Column(""))
_PROBES = (Column("looked through", "left"), Column("outcome", "left"))


def document(seen: Seen) -> Document:
    """Accelerators where there are any, then the machine's memory, then the ways of looking."""
    machine = seen.machine
    rows = [
        Row(texts(clean(f.name, 60), _size(f.memory_bytes), _size(f.usable), f.taken_as)) for f in seen.gpus
    ]
    memory = [Row(texts("in all", _size(machine.host_memory_bytes)))]
    if machine.available is not None:
        memory.append(Row(texts("free for this process", _size(machine.available.bytes))))
    tables = [
        Table(_ACCELERATORS, tuple(rows)),
        Table(_MEMORY, tuple(memory)),
        Table(_PROBES, tuple(Row(texts(probe.way, probe.outcome)) for probe in machine.probes)),
    ]
    notes = [f"free: {machine.available.source}"] if machine.available is not None else []
    none = [] if rows else ["no accelerator was found"]
    return Document(tuple(t for t in tables if t.rows), (*none, *notes, *seen.notes))


def content(seen: Seen) -> dict[str, object]:
    """The JSON without its format line."""
    machine = seen.machine
    return {
        "accelerators": [gpu._asdict() for gpu in seen.gpus],
        "host_memory_bytes": machine.host_memory_bytes,
        "available_bytes": machine.available.bytes if machine.available else None,
        "available_source": machine.available.source if machine.available else None,
        "probes": [probe._asdict() for probe in machine.probes],
        "notes": list(seen.notes),
    }


def csv_lines(seen: Seen) -> tuple[Sequence[str], list[list[Value]]]:
    """Header and one line an accelerator."""
    header = ["name", "vendor", "memory_bytes", "usable_bytes", "taken_as"]
    return header, [[f.name, f.vendor, f.memory_bytes, f.usable, f.taken_as] for f in seen.gpus]


def _size(n_bytes: int | None) -> str:
    return numbers.MISSING if n_bytes is None else numbers.size(n_bytes)

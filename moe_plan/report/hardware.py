"""The list of hardware as tables, and as records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.report import numbers
from moe_plan.report.table import Column, Document, Row, Table, texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moe_plan.hardware.figures import Figure
    from moe_plan.plan.hardware import Entry
    from moe_plan.report.csv import Value

_ACCELERATORS = (
    Column("accelerator", "left"),
    Column("memory"),
    Column("bandwidth"),
    Column("16-bit"),
    Column("fp8"),
    Column("fp4"),
    Column("link"),
    Column("power"),
)
_SYSTEMS = (
    Column("system", "left"),
    Column("accelerators", "left"),
    Column("memory"),
    Column("link"),
    Column("network"),
    Column("host memory"),
)
_INSTANCES = (
    Column("instance", "left"),
    Column("cloud", "left"),
    Column("accelerators", "left"),
    Column("memory"),
    Column("host memory"),
)
_NOTES = (
    "memory: what a program can have, of all accelerators together; ~ where it is estimated",
    "rates are dense, accumulated in fp32; link and network are one way, of one accelerator",
    "a dash is not known, or not there; `moe-plan hardware NAME` shows every figure with its source",
)


def document(entries: Sequence[Entry], *, hidden: int = 0) -> Document:
    """A table for each kind of hardware among `entries`; `hidden` instances are only counted."""
    tables = (
        Table(_ACCELERATORS, tuple(_accelerator(e) for e in entries if e.kind == "accelerator")),
        Table(_SYSTEMS, tuple(_system(e) for e in entries if e.kind == "system")),
        Table(_INSTANCES, tuple(_instance(e) for e in entries if e.kind == "instance")),
    )
    more = (f"and {hidden} machines of clouds: --kind instance lists them",) if hidden else ()
    return Document(tuple(table for table in tables if table.rows), (*_NOTES, *more) if entries else ())


def content(entries: Sequence[Entry]) -> dict[str, object]:
    """The JSON of `hardware` without its format line."""
    return {"hardware": [record(entry) for entry in entries]}


def csv_lines(entries: Sequence[Entry]) -> tuple[list[str], list[list[Value]]]:
    """Header and one line an entry."""
    rows = [_flat(record(entry)) for entry in entries]
    header = [*rows[0]] if rows else ["kind", "name"]
    return header, [list(row.values()) for row in rows]


def record(entry: Entry) -> dict[str, object]:
    """One entry with exact numbers; memory, bandwidth, rates and power are those of one accelerator."""
    rates = {
        f"{name}_{'ops' if name.startswith('int') else 'flops'}_per_s": entry.rates[name]
        for name in entry.rates
    }
    return {
        "kind": entry.kind,
        "name": entry.name,
        "title": entry.title,
        "vendor": entry.vendor,
        "cloud": entry.cloud or None,
        "accelerator": entry.device.spec.name,
        "nodes": entry.nodes,
        "per_node": entry.per_node,
        "memory_bytes": entry.memory.bytes if entry.memory else None,
        "memory_basis": entry.memory.basis if entry.memory else None,
        "bandwidth_bytes_per_s": entry.bandwidth,
        **rates,
        "link": entry.link.place.partition(".")[2] if entry.link else None,
        "link_bytes_per_s": entry.link.amount if entry.link else None,
        "network_bytes_per_s": entry.network.amount if entry.network else None,
        "host_memory_bytes": entry.host_memory.amount if entry.host_memory else None,
        "power_w": entry.power,
    }


def _flat(values: dict[str, object]) -> dict[str, Value]:
    return {
        name: value if value is None or isinstance(value, str | int | float) else str(value)
        for name, value in values.items()
    }


def _accelerator(entry: Entry) -> Row:
    rates = entry.rates
    return Row(
        texts(
            entry.name,
            _memory(entry),
            _si(entry.bandwidth, "B/s"),
            _si(rates["bf16"] or rates["fp16"], "FLOP/s"),
            _si(rates["fp8"], "FLOP/s"),
            _si(rates["fp4"], "FLOP/s"),
            _figure(entry.link),
            _si(entry.power, "W"),
        )
    )


def _system(entry: Entry) -> Row:
    return Row(
        texts(
            entry.name,
            _composed(entry),
            _memory(entry),
            _figure(entry.link),
            _figure(entry.network),
            entry.host_memory.printed if entry.host_memory else numbers.MISSING,
        )
    )


def _instance(entry: Entry) -> Row:
    host = entry.host_memory.printed if entry.host_memory else numbers.MISSING
    return Row(texts(entry.name, entry.cloud, _composed(entry), _memory(entry), host))


def _composed(entry: Entry) -> str:
    nodes = f"{entry.nodes} {numbers.TIMES} " if entry.nodes > 1 else ""
    return f"{nodes}{entry.per_node} {numbers.TIMES} {entry.device.spec.name}"


def _memory(entry: Entry) -> str:
    if entry.memory is None:
        return numbers.MISSING
    mark = "~" if entry.memory.basis.startswith("estimated") else ""
    return mark + numbers.size(entry.memory.bytes * entry.nodes * entry.per_node)


def _figure(found: Figure | None) -> str:
    return numbers.MISSING if found is None else _si(found.amount, "B/s")


def _si(amount: int | None, unit: str) -> str:
    return numbers.MISSING if amount is None else numbers.si(amount, unit)

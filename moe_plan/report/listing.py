"""The list of models as a table, and as records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.report import numbers
from moe_plan.report.table import Column, Document, Row, Table, texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moe_plan.plan.listing import Entry
    from moe_plan.report.csv import Value

_COLUMNS = (
    Column("model", "left"),
    Column("total"),
    Column("active"),
    Column("experts"),
    Column("context"),
    Column("attention", "left"),
)


def document(entries: Sequence[Entry]) -> Document:
    """One line a model."""
    return Document((Table(_COLUMNS, tuple(_row(entry) for entry in entries)),))


def content(entries: Sequence[Entry]) -> dict[str, object]:
    """The JSON of `models` without its format line."""
    return {"models": [_record(entry) for entry in entries]}


def csv_lines(entries: Sequence[Entry]) -> tuple[list[str], list[list[Value]]]:
    """Header and one line a model, lists joined by spaces."""
    header = [
        "name",
        "total_params",
        "active_params",
        "experts",
        "top_k",
        "attention_kinds",
        "context",
        "checkpoints",
        "source",
    ]
    return header, [[_flat(_record(entry)[name]) for name in header] for entry in entries]


def _row(entry: Entry) -> Row:
    made_of = entry.structure
    experts = numbers.MISSING if made_of.experts is None else f"{made_of.top_k}/{made_of.experts}"
    context = numbers.MISSING if entry.context is None else numbers.exact(entry.context)
    kinds = ", ".join(made_of.attention_kinds)
    total, active = numbers.count(entry.total), numbers.count(entry.active)
    return Row(texts(entry.name, total, active, experts, context, kinds))


def _record(entry: Entry) -> dict[str, object]:
    return {
        "name": entry.name,
        "total_params": entry.total,
        "active_params": entry.active,
        "experts": entry.structure.experts,
        "top_k": entry.structure.top_k,
        "attention_kinds": list(entry.structure.attention_kinds),
        "context": entry.context,
        "checkpoints": list(entry.checkpoints),
        "source": entry.source,
    }


def _flat(value: object) -> Value:
    if isinstance(value, list):
        return " ".join(str(item) for item in value)
    return value if value is None or isinstance(value, str | int | float) else str(value)

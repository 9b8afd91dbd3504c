"""An explanation as records: the rows of JSON, and the lines of CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.report.places import layers_text

if TYPE_CHECKING:
    from moe_plan.plan.explanation import Explanation, Group, OperationRow, Place, StateRow, TensorRow
    from moe_plan.report.csv import Value

HEADER = (
    "group",
    "part",
    "layers",
    "layer_count",
    "row",
    "name",
    "component",
    "shape",
    "copies",
    "used",
    "use",
    "parameters",
    "buffer_elements",
    "flops_per_token",
    "prefill_flops",
    "phase",
    "flops_per_entry",
    "entries",
    "elements",
    "format",
    "bytes",
    "remark",
)


def content(explanation: Explanation) -> dict[str, object]:
    """The JSON of `explain` without its format line; bytes, FLOPs and counts are integers."""
    question, scope = explanation.question, explanation.scope
    return {
        "model": explanation.name,
        "source": explanation.source,
        "context": question.context,
        "weights": question.weights,
        "kv": question.kv,
        "part": None if scope.layer is None else scope.part,
        "layer": scope.layer,
        "component": scope.component,
        "groups": [_group(group) for group in explanation.groups],
    }


def csv_lines(explanation: Explanation) -> tuple[tuple[str, ...], list[list[Value]]]:
    """Header and one line a tensor, operation or state; what does not apply is empty."""
    records = [record for group in explanation.groups for record in _flat(group)]
    return HEADER, [[record.get(name) for name in HEADER] for record in records]


def _group(group: Group) -> dict[str, object]:
    return {
        "group": group.name,
        "in_text_model": group.in_text,
        "tensors": [_record(row) for row in group.tensors],
        "operations": [_record(row) for row in group.operations],
        "states": [_record(row) for row in group.states],
        "sums": group.sums._asdict(),
    }


def _record(row: TensorRow | OperationRow | StateRow) -> dict[str, object]:
    fields = {
        name: value for name, value in row._asdict().items() if name not in ("place", "in_cache_format")
    }
    fields = {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
    if fields.get("remark") == "":
        fields["remark"] = None
    return {**_place(row.place), **fields}


def _place(place: Place) -> dict[str, object]:
    return {
        "part": place.part,
        "role": place.role,
        "layers": [list(stretch) for stretch in place.layers],
        "layer_count": len(place.layers) and place.layer_count,
    }


def _flat(group: Group) -> list[dict[str, Value]]:
    tensors = [_line(group, "tensor", row.tensor, row) for row in group.tensors]
    operations = [_line(group, "operation", row.operation, row) for row in group.operations]
    states = [_line(group, "state", row.state, row) for row in group.states]
    return [*tensors, *operations, *states]


def _line(group: Group, kind: str, name: str, row: TensorRow | OperationRow | StateRow) -> dict[str, Value]:
    place = row.place
    line: dict[str, Value] = {
        "group": group.name,
        "part": place.part,
        "layers": layers_text(place.layers),
        "layer_count": len(place.layers) and place.layer_count,
        "row": kind,
        "name": name,
    }
    for field in HEADER[6:]:
        value = getattr(row, field, None)
        line[field] = "x".join(map(str, value)) if isinstance(value, tuple) else value
    return line

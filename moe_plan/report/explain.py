"""The inventory as tables to audit: tensors, operations, states, and the sums at the foot."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import TYPE_CHECKING, TypeVar

from moe_plan.report import numbers
from moe_plan.report.places import place_text
from moe_plan.report.table import Cell, Column, Document, Row, Table, section, texts

if TYPE_CHECKING:
    from moe_plan.plan.explanation import Explanation, Group, OperationRow, StateRow, TensorRow

Shown = Callable[[int], str]
AnyRow = TypeVar("AnyRow", "TensorRow", "OperationRow", "StateRow")
_TENSORS = (
    Column("tensor", "left"),
    Column("component", "left"),
    Column("shape"),
    Column("copies"),
    Column("used"),
    Column("parameters"),
    Column("FLOPs per token"),
    Column("format", "left"),
    Column("bytes"),
)
_NARROW_TENSORS = (
    Column("tensor", "left"),
    Column("shape"),
    Column("used"),
    Column("parameters"),
    Column("FLOP"),
    Column("bytes"),
)
_OPERATIONS = (
    Column("operation", "left"),
    Column("phase", "left"),
    Column("FLOPs each"),
    Column("entries"),
    Column("decode"),
    Column("prefill"),
)
_STATES = (
    Column("state", "left"),
    Column("elements each"),
    Column("entries"),
    Column("elements"),
    Column("format", "left"),
    Column("bytes"),
)
NOTES = (
    "shape is of one copy, of which a token uses `used`; the other figures are of all layers of a run",
    "(n): a buffer, stored and not trained, or FLOPs of prefill alone; tied, copy: a tensor held already",
)
NOTE_NARROW = "FLOPs and bytes are rounded here; exact in a wider terminal and in --format csv or json"


def document(explanation: Explanation, width: int | None) -> Document:
    """The tables of `explain`, with fewer and rounded columns where `width` is too small for all."""
    source = f"source: {explanation.source}"
    tables = [table for group in explanation.groups for table in _tables(explanation, group, narrow=False)]
    if width is None or all(sum(t.widths()) + 2 * (len(t.columns) - 1) <= width for t in tables):
        return Document(tuple(tables), (*NOTES, source))
    tables = [table for group in explanation.groups for table in _tables(explanation, group, narrow=True)]
    return Document(tuple(tables), (*NOTES, NOTE_NARROW, source))


def _tables(explanation: Explanation, group: Group, *, narrow: bool) -> Iterable[Table]:
    context = numbers.exact(explanation.question.context)
    if group.tensors:
        yield _tensors(explanation, group, narrow=narrow)
    if group.operations:
        title = f"{group.name}: FLOPs of operations at {context} tokens, prefill of all of them"
        yield _table(title, _OPERATIONS, *_operation_rows(group, numbers.brief if narrow else numbers.exact))
    if group.states:
        title = f"{group.name}: cache and state of one sequence of {context} tokens"
        yield _table(title, _STATES, *_state_rows(group, numbers.size if narrow else numbers.exact))
    if group.in_text:
        yield _sums(explanation, group)


def _tensors(explanation: Explanation, group: Group, *, narrow: bool) -> Table:
    title = f"{explanation.name}, {group.name}: tensors, weights {explanation.question.weights}"
    parameters = numbers.exact(group.sums.parameters)
    flops, n_bytes = group.sums.weight_flops, group.sums.weight_bytes
    if narrow:
        total = ("sum", "", "", parameters, numbers.brief(flops), numbers.size(n_bytes))
        return _table(title, _NARROW_TENSORS, _sectioned(group.tensors, _narrow_tensor), total)
    wide = ("sum", "", "", "", "", parameters, numbers.exact(flops), "", numbers.exact(n_bytes))
    return _table(title, _TENSORS, _sectioned(group.tensors, _tensor), wide)


def _operation_rows(group: Group, shown: Shown) -> tuple[Iterable[Row], tuple[str, ...]]:
    def cells(row: OperationRow) -> tuple[str, ...]:
        decode = numbers.MISSING if row.phase == "prefill" else shown(row.flops_per_token)
        prefill = numbers.MISSING if row.phase == "decode" else shown(row.prefill_flops)
        each, entries = numbers.exact(row.flops_per_entry), numbers.exact(row.entries)
        return row.operation, row.phase, each, entries, decode, prefill

    decode, prefill = group.sums.operation_flops, group.sums.prefill_operation_flops
    return _sectioned(group.operations, cells), ("sum", "", "", "", shown(decode), shown(prefill))


def _state_rows(group: Group, shown: Shown) -> tuple[Iterable[Row], tuple[str, ...]]:
    def cells(row: StateRow) -> tuple[str, ...]:
        each, entries = numbers.exact(row.elements_per_entry), numbers.exact(row.entries)
        return row.state, each, entries, numbers.exact(row.elements), row.format, shown(row.bytes)

    elements = numbers.exact(sum(row.elements for row in group.states))
    return _sectioned(group.states, cells), ("sum", "", "", elements, "", shown(group.sums.state_bytes))


def _table(title: str, columns: tuple[Column, ...], rows: Iterable[Row], total: tuple[str, ...]) -> Table:
    return Table(columns, (*rows, Row(texts(*total), "sum")), title)


def _sectioned(rows: Iterable[AnyRow], cells: Callable[[AnyRow], tuple[str, ...]]) -> Iterable[Row]:
    """The rows, each run of layers under its heading."""
    place = None
    for row in rows:
        if row.place != place:
            place = row.place
            yield section(place_text(place))
        first, *others = cells(row)
        yield Row((Cell(" " + first), *texts(*others)))


def _tensor(row: TensorRow) -> tuple[str, ...]:
    return (
        row.tensor,
        row.component,
        _shape(row),
        numbers.exact(row.copies),
        numbers.exact(row.used),
        _parameters(row),
        _flops(row, numbers.exact),
        row.format,
        numbers.exact(row.bytes),
    )


def _narrow_tensor(row: TensorRow) -> tuple[str, ...]:
    used = "1 row" if row.use == "lookup" else f"{row.used}/{row.copies}" if row.copies > 1 else ""
    flops = _flops(row, numbers.brief) if row.flops_per_token else ""
    return row.tensor, _shape(row), used, _parameters(row), flops, numbers.size(row.bytes)


def _flops(row: TensorRow, shown: Shown) -> str:
    """In parentheses where only prefill does the work."""
    text = shown(row.flops_per_token)
    return f"({text})" if row.phase == "prefill" and row.flops_per_token else text


def _shape(row: TensorRow) -> str:
    return numbers.TIMES.join(str(size) for size in row.shape)


def _parameters(row: TensorRow) -> str:
    if row.remark == "buffer":
        return f"({numbers.exact(row.buffer_elements)})"
    return row.remark or numbers.exact(row.parameters)


def _sums(explanation: Explanation, group: Group) -> Table:
    """What the rows of the text model add up to."""
    sums, context = group.sums, explanation.question.context
    prefill = Fraction(sums.weight_flops * context + sums.prefill_operation_flops, context)
    decode = sums.weight_flops - sums.prefill_only_weight_flops + sums.operation_flops
    once = sums.prefill_only_weight_flops
    prefill_only = (("of these, in prefill only", once),) if once else ()
    lines = (
        ("parameters", sums.parameters),
        ("buffer elements", sums.buffer_elements),
        (f"weight bytes, {explanation.question.weights}", sums.weight_bytes),
        ("FLOPs per token in weights", sums.weight_flops),
        *prefill_only,
        (f"FLOPs per token in operations, decode at {context:,}", sums.operation_flops),
        (f"FLOPs per token, decode at {context:,}", decode),
        (f"FLOPs per token, mean of a prefill of {context:,}", round(prefill)),
        (f"cache and state bytes at {context:,}", sums.state_bytes),
    )
    scope = explanation.scope
    partly = scope.layer is not None or scope.component is not None
    title = f"{explanation.name}, {'the rows above' if partly else group.name}: sums"
    rows = tuple(Row(texts(label, numbers.exact(value))) for label, value in lines)
    return Table((Column("quantity", "left"), Column("sum")), rows, title)

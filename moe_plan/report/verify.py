"""Ledgers as tables: one model line by line, or one row a model and what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.report import numbers
from moe_plan.report.numbers import MISSING
from moe_plan.report.table import Column, Document, Row, Table, texts
from moe_plan.report.verify_rows import Style, cells, ratio_text, rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from moe_plan.plan.ledger import Ledger, Line
    from moe_plan.plan.verification import Check
    from moe_plan.report.verify_rows import Shown

_NUMBERS = (Column("predicted"), Column("measured"), Column("ratio"), Column("verdict", "left"))
_QUANTITIES = (Column("quantity", "left"), *_NUMBERS)
_MODELS = (
    Column("model", "left"),
    Column("scale"),
    Column("params"),
    Column("checked"),
    Column("differ"),
    Column("peak"),
    Column("time"),
    Column("took"),
)
LEGEND = (
    "params: of the replica; checked, differ: quantities; peak, time: memory and wall time, measured over "
    "predicted, the one furthest from 1; took: wall time of the check"
)


def document(checks: Sequence[Check], shown: Shown, width: int | None) -> Document:
    """The tables for one model, or for several, of which at least one has a ledger."""
    if len(checks) == 1:
        (check,) = checks
        ledger = _ledger(check)
        table, notes = _quantities(ledger, shown, width)
        return Document((table,), notes, tuple(_about(ledger)))
    return _several(checks, shown, width)


def run_text(ledger: Ledger) -> str:
    """Where and how the replica ran: `cpu, fp32, prefill of 24 tokens, 4 decode steps`."""
    return (
        f"{ledger.device}, {ledger.dtype}, prefill of {_counted(ledger.tokens, 'token')}, "
        f"{_counted(ledger.steps, 'decode step')}"
    )


def _about(ledger: Ledger) -> Iterator[str]:
    yield f"{ledger.model}, replica at scale {ledger.scale}: {run_text(ledger)}"
    if ledger.kept:
        yield f"kept: {'; '.join(ledger.kept)}"


def _quantities(
    ledger: Ledger, shown: Shown, width: int | None, title: str = ""
) -> tuple[Table, tuple[str, ...]]:
    """The table with a column of notes where they fit, and otherwise those that matter below it."""
    for style in (
        Style(narrow=False, notes=True),
        Style(narrow=False, notes=False),
        Style(narrow=True, notes=False),
    ):
        table = _table(ledger, shown, style, title)
        if width is None or table.width <= width:
            return table, () if style.notes else _notes(ledger.lines)
    return table, _notes(ledger.lines)


def _table(ledger: Ledger, shown: Shown, style: Style, title: str) -> Table:
    body = tuple(rows(ledger.lines, shown, style))
    has_notes = style.notes and any(row.kind != "section" and row.cells[-1].text for row in body)
    if style.notes and not has_notes:
        body = tuple(row if row.kind == "section" else row._replace(cells=row.cells[:-1]) for row in body)
    columns = (*_QUANTITIES, Column("note", "left")) if has_notes else _QUANTITIES
    filled = "", "", "", _outcome(len(ledger.differences)), *([""] if has_notes else [])
    return Table(columns, (*body, Row(texts(_counted(len(ledger.lines), "quantity"), *filled), "sum")), title)


def _notes(lines: Iterable[Line]) -> tuple[str, ...]:
    """Notes of lines that are not equal: there they give the reason. Each once, with what it is about."""
    subjects: dict[str, list[str]] = {}
    for line in lines:
        if line.note and line.verdict != "equal":
            subjects.setdefault(line.note, []).append(f"{line.group}, {line.name}")
    return tuple(
        f"{names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}: {note}"
        for note, names in subjects.items()
    )


def _several(checks: Sequence[Check], shown: Shown, width: int | None) -> Document:
    notes = [
        f"{check.model}: the replica failed: {check.failure}" for check in checks if check.ledger is None
    ]
    tables = [Table(_MODELS, (*map(_model_row, checks), _model_sum(checks)))]
    if shown == "all":
        for check in checks:
            if check.ledger is not None:
                title = "; ".join(_about(check.ledger))
                table, below = _quantities(check.ledger, shown, width, title)
                tables.append(table)
                notes += [f"{check.model}: {note}" for note in below]
    elif any(check.status == "differs" for check in checks):
        tables.append(_differing(checks))
    return Document(tuple(tables), (*notes, LEGEND), (_headline(checks),))


def _headline(checks: Sequence[Check]) -> str:
    runs = dict.fromkeys(run_text(check.ledger) for check in checks if check.ledger)
    return f"{_counted(len(checks), 'model')}, replicas on {'; '.join(runs)}"


def _model_row(check: Check) -> Row:
    took = numbers.seconds(check.seconds)
    if check.ledger is None:
        return Row(texts(check.model, MISSING, MISSING, MISSING, "failed", MISSING, MISSING, took), "alarm")
    differ = len(check.ledger.differences)
    shown = (
        check.ledger.scale,
        MISSING if check.parameters is None else numbers.count(check.parameters),
        numbers.exact(len(check.ledger.lines)),
        numbers.exact(differ),
        _short_ratio(check.peak_ratio),
        _short_ratio(check.time_ratio),
        took,
    )
    return Row(texts(check.model, *shown), "alarm" if differ else "body")


def _model_sum(checks: Sequence[Check]) -> Row:
    lines = [line for check in checks if check.ledger for line in check.ledger.lines]
    differ = sum(line.verdict == "differs" for line in lines)
    took = numbers.seconds(sum(check.seconds for check in checks))
    return Row(texts("sum", "", "", numbers.exact(len(lines)), numbers.exact(differ), "", "", took), "sum")


def _differing(checks: Sequence[Check]) -> Table:
    rows = [
        Row(texts(check.model, f"{line.group}, {line.name}", *cells(line, narrow=False)), "alarm")
        for check in checks
        for line in (check.ledger.differences if check.ledger else ())
    ]
    columns = (Column("model", "left"), *_QUANTITIES)
    return Table(columns, tuple(rows), "what differs")


def _short_ratio(ratio: float | None) -> str:
    text = ratio_text(ratio)
    return text[:-1] if "." in text and len(text.partition(".")[2]) > 3 else text  # noqa: PLR2004


def _outcome(differences: int) -> str:
    return f"{differences} differ{'' if differences > 1 else 's'}" if differences else "all hold"


def _counted(number: int, noun: str) -> str:
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{numbers.exact(number)} {noun if number == 1 else plural}"


def _ledger(check: Check) -> Ledger:
    if check.ledger is None:
        message = f"{check.model} has no ledger"
        raise ValueError(message)
    return check.ledger

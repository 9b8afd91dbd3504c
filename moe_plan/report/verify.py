"""Ledgers as tables: one model line by line, or one row a model and what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.plan.verification import (
    FULL_WIDTH_DTYPE,
    FULL_WIDTH_STEPS,
    FULL_WIDTH_TOKENS,
    SEQUENCES,
    groups,
)
from moe_plan.report import numbers
from moe_plan.report.numbers import MISSING
from moe_plan.report.table import Column, Document, Row, Table, section, texts
from moe_plan.report.verify_rows import Shared, Style, ratio_text, row, rows

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
_STYLES = (
    Style(narrow=False, notes=True),
    Style(narrow=False, notes=False),
    Style(narrow=True, notes=False),
)
_PEAK, _TIME = 5, 6
LEGEND = "params: of the replica; checked, differ: quantities; took: wall time of the check"
FULL_WIDTH = "full width"
FULL_WIDTH_RUN = (
    f"{FULL_WIDTH}: published size on torch's meta device, {FULL_WIDTH_DTYPE}, 1 sequence, "
    f"prefill of {FULL_WIDTH_TOKENS} tokens, {FULL_WIDTH_STEPS} decode step"
)
RATIOS = "peak, time: memory and wall time, measured over predicted, the one furthest from 1"


def document(checks: Sequence[Check], shown: Shown, width: int | None) -> Document:
    """The tables for one model, or for several, of which at least one has a ledger."""
    ledgers = [check.ledger for check in checks if check.ledger]
    if len(checks) == 1:
        (ledger,) = ledgers
        table, notes = _quantities(ledger, shown, width)
        return Document((table,), (*_shrunk(ledger), *_full_width(ledgers), *notes), tuple(_about(ledger)))
    return _several(checks, shown, width)


def run_text(ledger: Ledger) -> str:
    """Where and how the replica ran: `cpu, fp32, 2 sequences, prefill of 24 tokens each, 4 decode steps`."""
    return (
        f"{ledger.device}, {ledger.dtype}, {_counted(SEQUENCES, 'sequence')}, "
        f"prefill of {_counted(ledger.tokens, 'token')} each, {_counted(ledger.steps, 'decode step')}"
    )


def _full_width(ledgers: Iterable[Ledger]) -> tuple[str, ...]:
    """How the lines at published size were counted, where there are any."""
    any_ = any(line.group.startswith(FULL_WIDTH) for ledger in ledgers for line in ledger.lines)
    return (FULL_WIDTH_RUN,) if any_ else ()


def _about(ledger: Ledger) -> Iterator[str]:
    yield f"{ledger.model}, replica at scale {ledger.scale}: {run_text(ledger)}"
    if ledger.kept:
        yield f"kept: {ledger.kept[0]}"


def _shrunk(ledger: Ledger) -> Iterator[str]:
    """What else was done to make the replica small."""
    if ledger.kept[1:]:
        yield f"replica: {'; '.join(ledger.kept[1:])}"


def _quantities(
    ledger: Ledger, shown: Shown, width: int | None, title: str = ""
) -> tuple[Table, tuple[str, ...]]:
    """The table with a column of notes where they fit, and otherwise those that matter below it."""
    table = _table(ledger, shown, _STYLES[0], title)
    if _fits(table, width):
        return table, ()
    fitting = (_table(ledger, shown, style, title) for style in _STYLES[1:])
    return _first_fitting(fitting, width), notes_of(ledger.lines)


def _first_fitting(tables: Iterable[Table], width: int | None) -> Table:
    """The first that is narrow enough, or else the last."""
    for table in tables:
        if _fits(table, width):
            break
    return table


def _fits(table: Table, width: int | None) -> bool:
    return width is None or table.width <= width


def _table(ledger: Ledger, shown: Shown, style: Style, title: str) -> Table:
    body = tuple(rows(ledger.lines, shown, style))
    has_notes = style.notes and any(row.kind != "section" and row.cells[-1].text for row in body)
    if style.notes and not has_notes:
        body = tuple(row if row.kind == "section" else row._replace(cells=row.cells[:-1]) for row in body)
    columns = (*_QUANTITIES, Column("note", "left")) if has_notes else _QUANTITIES
    filled = "", "", "", _outcome(len(ledger.differences)), *([""] if has_notes else [])
    return Table(columns, (*body, Row(texts(_counted(len(ledger.lines), "quantity"), *filled), "sum")), title)


def notes_of(lines: Iterable[Line]) -> tuple[str, ...]:
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
    tables = [_overview(checks)]
    legend = (LEGEND, RATIOS) if len(tables[0].columns) > len(_MODELS) - 2 else (LEGEND,)
    ledgers = [check.ledger for check in checks if check.ledger]
    if shown == "all":
        for ledger in ledgers:
            table, below = _quantities(ledger, shown, width, "; ".join(_about(ledger)))
            tables.append(table)
            notes += [f"{ledger.model}: {note}" for note in (*_shrunk(ledger), *below)]
    elif any(ledger.differences for ledger in ledgers):
        tables.append(_first_fitting((_differing(ledgers, style) for style in _STYLES[1:]), width))
        notes += [f"{ledger.model}: {note}" for ledger in ledgers for note in notes_of(ledger.differences)]
    return Document(tuple(tables), (*notes, *legend, *_full_width(ledgers)), (_headline(checks),))


def _headline(checks: Sequence[Check]) -> str:
    runs = dict.fromkeys(run_text(check.ledger) for check in checks if check.ledger)
    return f"{_counted(len(checks), 'model')}, replicas on {'; '.join(runs)}"


def _overview(checks: Sequence[Check]) -> Table:
    """One row a model; peak and time have a column where any model has them."""
    table = Table(_MODELS, (*map(_model_row, checks), _model_sum(checks)))
    empty = {
        index for index in (_PEAK, _TIME) if all(row.cells[index].text in ("", MISSING) for row in table.rows)
    }
    return table.only([index for index in range(len(_MODELS)) if index not in empty])


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


def _differing(ledgers: Iterable[Ledger], style: Style) -> Table:
    body: list[Row] = []
    for ledger in ledgers:
        for group, lines in groups(ledger.differences).items():
            body += [section(f"{ledger.model}: {group}"), *(row(Shared(line), style) for line in lines)]
    return Table(_QUANTITIES, tuple(body), "what differs")


def _short_ratio(ratio: float | None) -> str:
    return ratio_text(ratio) if ratio is None or ratio == 1 else f"{ratio:.3f}"


def _outcome(differences: int) -> str:
    return f"{differences} differ{'' if differences > 1 else 's'}" if differences else "all hold"


def _counted(number: int, noun: str) -> str:
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{numbers.exact(number)} {noun if number == 1 else plural}"

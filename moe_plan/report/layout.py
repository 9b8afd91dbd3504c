"""Where every character of a table stands: lines of styled spans, which plain text and terminals share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from moe_plan.report.table import GAP, MARK
from moe_plan.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.report.table import Column, Document, Row, Table

Style = Literal["", "title", "header", "rule", "section", "label", "best", "sum", "alarm", "note"]
Line = tuple[tuple[str, Style], ...]
LONGEST_LINE = 1_000


def lines(document: Document, width: int | None, rule: str) -> Iterator[Line]:
    """The lines of `document`; tables wider than `width` are split, `rule` draws under headers."""
    for index, heading in enumerate(document.heading):
        style: Style = "note" if index else "title"
        yield from (((line, style),) for line in _wrapped(clean(heading, LONGEST_LINE), width))
    if document.heading:
        yield ()
    tables = [part for table in document.tables for part in table.fitting(width)]
    for index, table in enumerate(tables):
        if index:
            yield ()
        yield from _table(table, width, rule)
    for chart in document.charts:
        yield ()
        yield from (((line, "title"),) for line in _wrapped(clean(chart.title, LONGEST_LINE), width))
        yield from (((clean(line, LONGEST_LINE), ""),) for line in chart.lines)
    if document.notes:
        yield ()
    for note in document.notes:
        for line in _wrapped(clean(note, LONGEST_LINE), width):
            yield ((line, "note"),)


def _table(table: Table, width: int | None, rule: str) -> Iterator[Line]:
    widths = table.widths()
    drawn = (" " * GAP).join(rule * needed for needed in widths)
    for line in _wrapped(clean(table.title, LONGEST_LINE), width) if table.title else ():
        yield ((line, "title"),)
    titles = [_aligned(clean(c.title), needed, c) for c, needed in zip(table.columns, widths, strict=True)]
    yield (((" " * GAP).join(titles).rstrip(), "header"),)
    yield ((drawn, "rule"),)
    for row in table.rows:
        if row.kind == "sum":
            yield ((drawn, "rule"),)
        yield _row(row, table, widths)


def _row(row: Row, table: Table, widths: tuple[int, ...]) -> Line:
    if row.kind == "section":
        return ((clean(row.cells[0].text), "section"),)
    whole: Style = row.kind if row.kind in ("sum", "alarm") else ""
    spans: list[tuple[str, Style]] = []
    for index, (cell, column, width) in enumerate(zip(row.cells, table.columns, widths, strict=True)):
        mark = MARK if cell.is_best else " " * len(MARK)
        text = clean(cell.text) + (mark if index and table.has_marks else "")
        style: Style = "best" if cell.is_best else whole or ("" if index else "label")
        spans.append((_aligned(text, width, column) + " " * GAP, style))
    return _stripped(spans)


def _stripped(spans: list[tuple[str, Style]]) -> Line:
    """Without the spaces at the end of the line."""
    while spans and not spans[-1][0].strip():
        spans.pop()
    if spans:
        text, style = spans[-1]
        spans[-1] = (text.rstrip(), style)
    return tuple(spans)


def _aligned(text: str, width: int, column: Column) -> str:
    return text.ljust(width) if column.align == "left" else text.rjust(width)


def _wrapped(text: str, width: int | None) -> Iterator[str]:
    """`text` in lines of whole words, those after the first indented."""
    line = ""
    for word in text.split(" "):
        if width is not None and line.strip() and len(line) + 1 + len(word) > width:
            yield line
            line = "  " + word
        else:
            line = f"{line} {word}" if line else word
    yield line

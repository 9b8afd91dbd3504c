"""Tables for pull requests and issues. Whatever came from outside is shown as text, never as markup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from moe_plan.report.table import Chart, Document, Row, Table

_ESCAPES = {character: "\\" + character for character in "\\|`*_[]"}
# A zero-width space after @ keeps a name from becoming a mention.
_ESCAPES |= {"<": "&lt;", ">": "&gt;", "&": "&amp;", "@": "@\u200b"}
_TABLE = str.maketrans(_ESCAPES)
_LONGEST_LINE = 1_000


def markdown(document: Document) -> str:
    """The document as GitHub-flavoured Markdown, its notes as a list."""
    heading = [escaped(line, _LONGEST_LINE) for line in document.heading]
    blocks = [*heading, *("\n".join(_lines(table)) for table in document.tables)]
    blocks += ["\n".join(_fenced(chart)) for chart in document.charts]
    if document.notes:
        # Marks are bold here; a star would be taken for markup.
        notes = (
            note.replace("* ", "bold: ", 1) if note.startswith("* ") else note for note in document.notes
        )
        blocks.append("\n".join(f"- {escaped(note, _LONGEST_LINE)}" for note in notes))
    return "\n\n".join(blocks) + "\n"


def escaped(text: str, width: int = 120) -> str:
    """`text` on one line, inert inside a table cell."""
    return clean(text, width).translate(_TABLE)


def _lines(table: Table) -> list[str]:
    lines = [f"**{escaped(table.title)}**", ""] if table.title else []
    lines.append(_joined(escaped(column.title) for column in table.columns))
    lines.append(_joined("---" if column.align == "left" else "---:" for column in table.columns))
    return lines + [_line(row, len(table.columns)) for row in table.rows]


def _fenced(chart: Chart) -> list[str]:
    """As it stands: nothing in a fence is markup, and no line of a chart begins one."""
    lines = [clean(line, _LONGEST_LINE).replace("```", "'''") for line in chart.lines]
    return [f"**{escaped(chart.title, _LONGEST_LINE)}**", "", "```text", *lines, "```"]


def _line(row: Row, columns: int) -> str:
    if row.kind == "section":
        return _joined([f"**{escaped(row.cells[0].text)}**", *[""] * (columns - 1)])
    strong = row.kind in ("sum", "alarm")
    return _joined(_cell(cell.text, strong=strong or cell.is_best) for cell in row.cells)


def _cell(text: str, *, strong: bool) -> str:
    inert = escaped(text.strip())
    return f"**{inert}**" if strong and inert else inert


def _joined(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"

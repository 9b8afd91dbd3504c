"""Tables for a terminal: the layout of plain text, coloured by rich from Text, never from markup."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from moe_plan.report.layout import lines

if TYPE_CHECKING:
    from moe_plan.report.layout import Line, Style
    from moe_plan.report.table import Document

_STYLES: dict[Style, str] = {
    "title": "bold",
    "header": "bold",
    "rule": "dim",
    "section": "bold cyan",
    "label": "",
    "best": "bold green",
    "sum": "bold",
    "alarm": "bold red",
    "note": "dim",
}
# Lines are laid out already: the console must neither wrap nor cut them.
_ENDLESS = 100_000


def terminal(document: Document, width: int | None, *, color: bool, ascii_only: bool) -> str:
    """The document for a terminal `width` characters wide, with ANSI colours if `color`."""
    rule = "-" if ascii_only else "\u2500"
    out = StringIO()
    # Everything that rich would take from the environment is decided by the caller.
    console = Console(
        file=out,
        width=_ENDLESS,
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        legacy_windows=False,
        force_jupyter=False,
    )
    for line in lines(document, width, rule):
        console.print(_text(line), soft_wrap=True)
    return out.getvalue()


def _text(line: Line) -> Text:
    result = Text()
    for text, style in line:
        result.append(text, style=_STYLES.get(style, ""))
    return result

"""Comma-separated values: one header line, exact numbers, no cell that a spreadsheet would run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Value = str | int | float | None
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_LONGEST_CELL = 2_000


def csv(header: Sequence[str], rows: Iterable[Sequence[Value]]) -> str:
    """RFC 4180, lines ended by a line feed; None is an empty cell."""
    return "".join(",".join(_cell(value) for value in row) + "\n" for row in (header, *rows))


def _cell(value: Value) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        return repr(value)
    text = clean(value, _LONGEST_CELL)
    if text.startswith(_FORMULA):
        text = "'" + text
    if any(character in text for character in ',"'):
        return '"' + text.replace('"', '""') + '"'
    return text

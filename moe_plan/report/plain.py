"""Tables for pipes and files: columns aligned by spaces, no colour, no box, no wrapped line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.report.layout import lines

if TYPE_CHECKING:
    from moe_plan.report.table import Document


def plain(document: Document, width: int | None = None) -> str:
    """The document as text; tables wider than `width` are split into groups of columns."""
    return "".join("".join(text for text, _ in line) + "\n" for line in lines(document, width, "-"))

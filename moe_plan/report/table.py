"""A table before it has a format: columns, rows, what is marked, and how it splits to fit a width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

GAP = 2
MARK = " *"


class Column(NamedTuple):
    """A title and the side to which its cells are aligned."""

    title: str
    align: Literal["left", "right"] = "right"


class Cell(NamedTuple):
    """Text, and whether it is the best of its row."""

    text: str
    is_best: bool = False


class Row(NamedTuple):
    """Cells of one line; a section has one cell, its heading."""

    cells: tuple[Cell, ...]
    kind: Literal["body", "section", "sum", "alarm"] = "body"
    """A sum stands under a rule; an alarm must not be overlooked."""


class Table(NamedTuple):
    """Rows under columns; the first column is repeated where the others are split into groups."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    title: str = ""

    @property
    def has_marks(self) -> bool:
        """Whether some cell is the best of its row."""
        return any(cell.is_best for row in self.rows for cell in row.cells)

    def widths(self) -> tuple[int, ...]:
        """Characters that each column needs, marks included."""
        return tuple(self._width(index) for index in range(len(self.columns)))

    def _width(self, index: int) -> int:
        texts = [row.cells[index].text for row in self.rows if row.kind != "section"]
        mark = len(MARK) if index and self.has_marks else 0
        return max(len(self.columns[index].title), *(len(text) + mark for text in texts), 0)

    @property
    def width(self) -> int:
        """Characters of a line, gaps included."""
        return sum(self.widths()) + GAP * (len(self.columns) - 1)

    def fitting(self, width: int | None, frame: int = 0) -> tuple[Table, ...]:
        """This table as one or more that are at most `width` wide, by groups of columns.

        `frame` is what a border adds. A column that is too wide alone stays whole: no number is cut.
        """
        if width is None:
            return (self,)
        widths = self.widths()
        groups: list[list[int]] = []
        used = 0
        for index in range(1, len(self.columns)):
            needed = GAP + widths[index]
            if not groups or used + needed > width:
                groups.append([])
                used = frame + widths[0]
            groups[-1].append(index)
            used += needed
        return tuple(self.only((0, *group)) for group in groups) or (self,)

    def only(self, indices: Sequence[int]) -> Table:
        """This table with the columns of these indices."""
        rows = tuple(
            row if row.kind == "section" else row._replace(cells=tuple(row.cells[i] for i in indices))
            for row in self.rows
        )
        return Table(tuple(self.columns[i] for i in indices), rows, self.title)


class Chart(NamedTuple):
    """A picture made of plain characters, laid out already."""

    title: str
    lines: tuple[str, ...]


class Document(NamedTuple):
    """Tables, and what stands under and above them."""

    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()
    heading: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()


def section(heading: str) -> Row:
    """A row that names the rows below it."""
    return Row((Cell(heading),), "section")


def texts(*cells: str) -> tuple[Cell, ...]:
    """Cells without a mark."""
    return tuple(Cell(text) for text in cells)

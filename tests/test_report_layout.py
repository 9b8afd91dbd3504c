"""Tables: marks, alignment, and splitting to a width without cutting anything."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moe_plan.report.compare import _best
from moe_plan.report.layout import lines
from moe_plan.report.places import layers_text
from moe_plan.report.plain import plain
from moe_plan.report.table import Cell, Column, Document, Row, Table, section, texts


def table(cells: list[list[str]]) -> Table:
    columns = (Column("", "left"), *(Column(f"m{index}") for index in range(len(cells[0]) - 1)))
    return Table(columns, tuple(Row(texts(*line)) for line in cells))


words = st.text("abcdefgh0123456789,.", min_size=1, max_size=12)
grids = st.integers(2, 7).flatmap(
    lambda width: st.lists(st.lists(words, min_size=width, max_size=width), min_size=1, max_size=5)
)


@given(grids, st.integers(1, 120))
def test_splitting_keeps_columns_in_order_and_fits_where_it_can(cells, width):
    whole = table(cells)
    parts = whole.fitting(width)
    kept = [column.title for part in parts for column in part.columns[1:]]
    assert kept == [column.title for column in whole.columns[1:]]
    for part in parts:
        needed = sum(part.widths()) + 2 * (len(part.columns) - 1)
        assert needed <= width or len(part.columns) == 2
        assert [row.cells[0] for row in part.rows] == [row.cells[0] for row in whole.rows]


@given(grids)
def test_columns_are_aligned_and_lines_have_no_trailing_space(cells):
    shown = plain(Document((table(cells),))).splitlines()
    assert len({len(line) for line in shown}) == 1
    assert all(line == line.rstrip() for line in shown)


def test_marks_stand_behind_the_number_and_keep_numbers_aligned():
    rows = (
        section("s"),
        Row((Cell("a"), Cell("1.0", is_best=True), Cell("2.0"))),
        Row(texts("b", "10.0", "20.0")),
    )
    shown = plain(Document((Table((Column(""), Column("x"), Column("y")), rows),))).splitlines()
    assert shown[3:] == ["a   1.0 *   2.0", "b  10.0    20.0"]


def test_notes_wrap_at_words_only_where_a_width_is_known():
    document = Document((), ("one two three four",))
    assert plain(document, 10) == "\none two\n  three\n  four\n"
    assert plain(document) == "\none two three four\n"
    assert list(lines(Document(()), 10, "-")) == []


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([1, 2], 0),
        ([2, 1], 1),
        ([1, 1], None),
        ([1], None),
        ([None, 2], 1),
        ([None, None], None),
        ([0, 5, 5], 0),
    ],
)
def test_the_lowest_wins_unless_it_looks_the_same(values, best):
    assert _best(values, [str(value) for value in values]) == best
    assert _best(values, ["same"] * len(values)) is None


@pytest.mark.parametrize(
    ("layers", "shown"),
    [
        (((0, 2),), "0-2"),
        (((3, 3),), "3"),
        (((0, 0), (2, 2)), "0, 2"),
        (((0, 0), (2, 2), (4, 4)), "0-4 by 2"),
        (((0, 0), (2, 2), (5, 5)), "0, 2, 5"),
        (tuple((n, n + 1) for n in range(0, 20, 4)), "0-1, 4-5, 8-9, ..., 16-17"),
    ],
)
def test_layers_are_shown_as_stretches(layers, shown):
    assert layers_text(layers) == shown


def test_width_of_the_help_is_typers(monkeypatch):
    import shutil

    from moe_plan import __main__ as program

    for columns in ("80", "79", "abc", "0", "-3", "", "120"):
        monkeypatch.setenv("COLUMNS", columns)
        monkeypatch.setattr(program.sys, "__stdout__", SimpleNamespace(fileno=lambda: -1))
        assert program._screen_width() == shutil.get_terminal_size().columns

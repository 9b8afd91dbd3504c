"""Rows of a ledger: what stands together, what rounding may hide, and what a check says of itself."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from fake_witness import differing, differing_in_all, holding

from moe_plan.plan.ledger import Ledger, Line
from moe_plan.plan.verification import Check, Request, worst
from moe_plan.report import numbers
from moe_plan.report.table import Row
from moe_plan.report.verify_rows import Style, quantity, ratio_text, rows


def stands_for(row: Row) -> int:
    """How many lines of a ledger a row shows."""
    verdict = row.cells[4].text.split()
    return int(verdict[0]) if verdict[-1] == "equal" and len(verdict) == 2 else 1


@pytest.mark.parametrize("witness", [holding, differing, differing_in_all])
def test_lines_that_stand_together_are_equal_and_counted(witness):
    lines = witness(SimpleNamespace(name="m"), Request()).lines
    body = [row for row in rows(lines, "auto", Style(narrow=False, notes=True)) if row.kind != "section"]
    assert sum(map(stands_for, body)) == len(lines)
    named = {row.cells[0].text.strip() for row in body if stands_for(row) == 1}
    assert {line.name for line in lines if line.verdict != "equal"} <= named
    sums = [row for row in body if stands_for(row) > 1]
    assert all(row.cells[1] == row.cells[2] for row in sums)
    assert bool(sums) == (witness is not differing_in_all)


def test_a_row_for_many_lines_has_their_sum_and_what_they_have_in_common():
    lines = [Line("g", f"a.{n}", n, n, "bytes", note="2 layers") for n in (1, 2, 3)]
    lines += [
        Line("g", "a.x", 5, 5, "experts"),
        Line("g", "b.x", 5, 6, "bytes"),
        Line("g", "c.x", 5, 5, "bytes"),
    ]
    shown = list(rows(lines, "auto", Style(narrow=False, notes=True)))
    assert [[cell.text for cell in row.cells] for row in shown] == [
        ["g: 5 equal, 1 differs"],
        ["  a.*", "6 B", "6 B", "1", "3 equal", "2 layers"],
        ["  a.x", "5.00", "5.00", "1", "equal", ""],
        ["  b.x", "5 B", "6 B", "1.2000", "DIFFERS", ""],
        ["  c.x", "5 B", "5 B", "1", "equal", ""],
    ]
    assert [row.kind for row in shown] == ["section", "body", "body", "alarm", "body"]
    # The group's own sum is not added to what it sums.
    again = [Line("cache 2", "a", 1, 1, "bytes"), Line("cache 2", "b", 2, 2, "bytes")]
    both = [*again, Line("cache 2", "all of it", 3, 3, "bytes")]
    assert [row.cells[1].text for row in rows(both, "auto", Style(narrow=False, notes=False))] == ["3 B"]
    assert [row.cells[1].text for row in rows(again, "auto", Style(narrow=False, notes=False))] == ["3 B"]


def test_a_difference_that_rounding_hides_is_shown():
    hidden = (Line("g", "n", 8_388_608, 8_388_606, "FLOP"), Line("g", "m", 2**21, 2**21 + 1, "bytes"))
    cells = [
        [cell.text for cell in row.cells[1:3]]
        for narrow in (False, True)
        for row in list(rows(hidden, "all", Style(narrow=narrow, notes=False)))[1:]
    ]
    assert cells == [
        ["8,388,608 FLOP", "8,388,606 FLOP"], ["2,097,152 B", "2,097,153 B"], ["8.39 M", "-2"], ["2.00 MiB", "+1 B"],
    ]  # fmt: skip


def test_ratios_and_quantities():
    assert [ratio_text(ratio) for ratio in (None, 1.0, 1.0000001, 0.98765, 12.345, 1234.5)] == [
        "-", "1", "1.0000", "0.9877", "12.3", "1,234",
    ]  # fmt: skip
    assert [numbers.seconds(value) for value in (0, 2.5, 0.9996, 0.99949, 0.0123, 1e-3, 4.56e-5)] == [
        "0.00 s", "2.50 s", "1.00 s", "999 ms", "12.3 ms", "1.00 ms", "45.6 us",
    ]  # fmt: skip
    assert quantity(12_345_678, "FLOP") == "12.3 MFLOP"
    assert quantity(12_345_678, "FLOP", narrow=True) == "12.3 M"
    assert quantity(12_345_678, "elements") == "12,345,678"
    assert quantity(12_345_678, "elements", narrow=True) == "12.3M"
    assert quantity(float("nan"), "bytes") == "nan"


def ledger(*lines: Line):
    return Ledger("m", "1/2", (), "cpu", "fp32", 1, 1, lines)


def test_what_a_check_says_of_itself():
    peak = [
        Line("memory", f"peak {name}", 100, measured, "bytes", 0.5)
        for name, measured in (("a", 90), ("b", 105))
    ]
    time = [
        Line("time", "prefill", 1.0, 1.2, "s", 0.5),
        Line("time", "decode step", 1.0, 0.0, "s", judged=False),
    ]
    check = Check("m", ledger(Line("parameters", "all parameters", 7, 7, "parameters"), *peak, *time))
    assert (check.status, check.parameters, check.peak_ratio, check.time_ratio) == ("holds", 7, 0.9, 0.0)
    assert check.counts == {"equal": 1, "within": 3, "differs": 0, "noted": 1}
    empty, failed = Check("m", ledger()), Check("m", None, "no memory")
    assert (empty.status, empty.parameters, empty.peak_ratio, empty.time_ratio) == ("holds", None, None, None)
    assert (failed.status, sum(failed.counts.values()), failed.parameters) == ("failed", 0, None)
    differing = Check("m", ledger(Line("g", "n", 0, 1, "bytes")))
    assert worst([check, empty]) == "holds"
    assert worst([check, differing]) == "differs"
    assert worst([differing, failed, check]) == "failed"

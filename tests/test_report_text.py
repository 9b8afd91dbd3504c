"""Hostile text stays text in every format, and numbers are rounded as a reader expects."""

from __future__ import annotations

import csv as standard_csv
import io
import json as standard_json

import pytest

from moe_plan.report import numbers
from moe_plan.report.csv import csv
from moe_plan.report.json import json
from moe_plan.report.markdown import markdown
from moe_plan.report.plain import plain
from moe_plan.report.table import Cell, Column, Document, Row, Table, section, texts
from moe_plan.report.terminal import terminal

HOSTILE = (
    "[red]x[/red]", "[/foo]", "\x1b[31mred", "\x1b]8;;http://x\x07", "\u202eabc", "a\nb", "a\r\nb", "a|b", "`a`", "\\",
    "<img src=x onerror=alert(1)>", "@team", "=cmd()", "+1", "-1", "::error::x", "a,b", 'a"b', "\ud800", "\u2028",
    "\x00", "*bold*", "[a](http://x)", "é×…",
)  # fmt: skip
UNSAFE = set("\x1b\u202e\x07\r\ud800\u2028\x00")


def document(text: str) -> Document:
    columns = (Column(text, "left"), Column(text))
    rows = (section(text), Row((Cell(text), Cell(text, is_best=True))), Row(texts(text, text), "sum"))
    return Document((Table(columns, rows, text),), (text,))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_tables(text):
    shown = plain(document(text))
    assert not set(shown) & UNSAFE
    assert len(shown.splitlines()) == 9
    colored = terminal(document(text), None, color=True, ascii_only=False)
    assert len(colored.splitlines()) == 9
    for code in ("1", "2", "0", "1;36", "1;32"):
        colored = colored.replace(f"\x1b[{code}m", "")
    assert not set(colored) & UNSAFE
    assert colored.replace("\u2500", "-") == shown
    assert terminal(document(text), None, color=False, ascii_only=True) == shown


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_markdown(text):
    shown = markdown(document(text))
    assert not set(shown) & UNSAFE
    assert "<" not in shown
    lines = [line for line in shown.splitlines() if line.startswith("| ")]
    assert len(lines) == 5
    for line in lines:
        assert line.replace("\\\\", "").replace("\\|", "").count("|") == 3
    assert "@team" not in shown
    assert "`a`" not in shown.replace("\\`", "")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_csv(text):
    shown = csv(["name", "n"], [[text, 1], [None, 2.5]])
    assert not set(shown) & UNSAFE
    header, line, empty = standard_csv.reader(io.StringIO(shown))
    assert (header, line[1], empty) == (["name", "n"], "1", ["", "2.5"])
    assert not line[0].startswith(("=", "+", "-", "@"))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_json(text):
    shown = json("compare", {"name": text})
    assert shown.isascii()
    assert shown.endswith("}\n")
    assert standard_json.loads(shown)["name"] == text
    assert len(shown.splitlines()) == 5


def test_json_has_no_nan():
    with pytest.raises(ValueError, match="JSON"):
        json("compare", {"x": float("nan")})


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0"), (999, "999"), (1_000, "1.00K"), (999_499, "999K"), (999_600, "1.00M"), (12_879_925_248, "12.9B"),
        (46_702_792_704, "46.7B"), (671_026_404_352, "671B"), (999_600_000_000, "1.00T"), (10**18, "1.00E"),
        (9_995_000, "10.0M"), (99_950_000, "100M"),
    ],
)  # fmt: skip
def test_counts(number, shown):
    assert numbers.count(number) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0 B"), (1_023, "1,023 B"), (1_024, "1.00 KiB"), (70_272, "68.6 KiB"), (2**30, "1.00 GiB"),
        (1_023 * 2**30, "1,023 GiB"), (2**40, "1.00 TiB"), (93_405_585_408, "87.0 GiB"),
    ],
)  # fmt: skip
def test_sizes(number, shown):
    assert numbers.size(number) == shown


def test_flops_and_ratios():
    assert numbers.flops(250_457_382_912) == "250 GFLOP"
    assert numbers.flops(0) == "0 FLOP"
    assert numbers.brief(73_249_193_984) == "73.2 G"
    assert [numbers.ratio(x) for x in (1.0, 3.6259, 17.87, 128.0, 99.96)] == [
        "1.00",
        "3.63",
        "17.9",
        "128",
        "100",
    ]
    assert numbers.rounded(1 / 3) == 0.333333
    assert numbers.exact(70_272) == "70,272"

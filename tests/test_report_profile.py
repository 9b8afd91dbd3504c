"""A profile as text: charts that fit, axes, bins, and where memory stops and compute begins."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT
from fake_profile import CEILING, about, point
from hypothesis import given
from hypothesis import strategies as st

import moe_plan
from moe_plan.plan.profiling import BATCHES, Crossing, Load, Profile, Request, Spread, crossing
from moe_plan.plan.routed_layers import routed_layer
from moe_plan.report.plain import plain
from moe_plan.report.profile import crossing_text, document
from moe_plan.report.profile_chart import BIN_NAMES, Axis, charts, histogram

REQUEST = Request()


def profile(*tokens: int) -> Profile:
    spec = moe_plan.load("mixtral-8x7b").spec
    known = about(spec, routed_layer(spec, None), REQUEST)
    return Profile(known, tuple(point(known, count, 3) for count in tokens))


ALL = profile(*BATCHES)


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200, None])
def test_charts_fit_and_have_a_row_for_each_batch(width):
    times, load = charts(ALL, width)
    room = min(width or 80, 160)
    assert max(map(len, (*times.lines, *load.lines))) <= room
    assert len(times.lines) == 1 + len(BATCHES)
    for tokens, line in zip(BATCHES, times.lines[1:], strict=True):
        assert line.split()[0] == f"{tokens:,}"
        assert line.endswith(("memory", "compute"))
        marks = re.sub(r"[^sat*]", "", line.removesuffix("memory").removesuffix("compute"))
        assert "".join(sorted(marks)) in ("ast", "*", "*a", "*s", "*t")
    assert [line[:6].strip() for line in load.lines] == list(BIN_NAMES)


def test_a_slower_layer_stands_further_right():
    for line in charts(ALL, 200)[0].lines[2:]:
        body = line.removesuffix("memory").removesuffix("compute")
        if "*" not in body:
            assert body.index("a") < body.index("s") < body.index("t")


def test_a_chart_of_one_point_and_of_equal_times():
    one = profile(64)
    assert len(charts(one, 80)[0].lines) == 2
    level = one.points[0]._replace(active=one.points[0].sparse, total=one.points[0].sparse)
    (head, line), _ = (chart.lines for chart in charts(one._replace(points=(level,)), 80))
    assert line.split() == ["64", "*", "compute"]
    assert head.strip() == "tokens"
    assert plain(document(one, REQUEST, 80), 80).count("\n") > 20


@given(
    least=st.floats(1e-9, 1e-4), factor=st.floats(1, 1e6), columns=st.integers(20, 160), share=st.floats(0, 1)
)
def test_axes(least, factor, columns, share):
    axis = Axis(least, least * factor, columns)
    assert 0 <= axis.place(min(max(least * factor**share, least), axis.most)) < columns
    ticks = axis.ticks()
    assert list(ticks) == sorted(ticks)
    ends = [column + len(label) for column, label in ticks.items()]
    assert all(end <= columns for end in ends)
    assert all(end < start for end, start in zip(ends, list(ticks)[1:], strict=False))
    for label in ticks.values():
        assert re.fullmatch(r"[125]0{0,2} (s|ms|us|ns)", label), label


def test_bins_count_experts():
    def load(*rows):
        spread = Spread(0, 0, 0, 1)
        return Load(spread, 0, spread, rows)

    # Mean 2: no row, half, one, two, four and more times the mean.
    assert histogram(load((0, 1, 2, 4, 8, 0, 0, 1))) == [3, 2, 1, 1, 1, 0]
    assert histogram(load((0, 0, 0, 0, 10))) == [4, 0, 0, 0, 0, 1]
    assert histogram(load((1, 1), (0, 2))) == [0.5, 0, 1, 0.5, 0, 0]
    assert histogram(load((0, 0))) == [2, 0, 0, 0, 0, 0]


def test_where_compute_begins():
    assert crossing([(1, 0.5), (2, 1.0), (8, 4.0)], 2.0) == Crossing(pytest.approx(4.0), "memory")
    assert crossing([(1, 0.5), (2, 1.0)], 2.0) == Crossing(None, "memory")
    assert crossing([(1, 2.0), (2, 4.0)], 2.0) == Crossing(None, "compute")
    assert crossing([(1, 0.5), (4, 2.0)], 2.0).tokens == pytest.approx(4.0)
    # The sparse layer needs E / k times the tokens of its dense twin, whose weights all are used by each.
    sparse, dense = (ALL.crossing(twin).tokens for twin in ("sparse", "total"))
    assert sparse / dense == pytest.approx(8 / 2, rel=0.01)
    assert crossing_text(ALL, "sparse").startswith("sparse layer: memory-bound up to 32.0 tokens, compute")
    assert (
        crossing_text(profile(1, 2), "sparse")
        == "sparse layer: memory-bound at every batch from 1 to 2 tokens"
    )
    assert (
        crossing_text(profile(512), "total") == "dense layer of equal total size: compute-bound at 512 tokens"
    )


def test_a_ceiling_binds_by_intensity():
    at_one, at_many = profile(1, 4096).points
    assert CEILING.ridge == 4
    assert (CEILING.bound(at_one.sparse), CEILING.bound(at_many.sparse)) == ("memory", "compute")
    assert CEILING.least_seconds(at_one.sparse) == at_one.sparse.bytes / CEILING.bytes_per_s
    assert CEILING.least_seconds(at_many.sparse) == at_many.sparse.flops / CEILING.flops_per_s


def test_columns_are_documented():
    text = (ROOT / "docs" / "profile.md").read_text(encoding="utf-8")
    for table in document(ALL, REQUEST, None).tables:
        for column in table.columns:
            assert f"`{column.title}`" in text or column.title in BIN_NAMES, column.title

"""The sparse layer over ranks: equal to one process to the bit, and every byte of it predicted."""

from __future__ import annotations

from itertools import combinations
from statistics import fmean

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parallel_cases import Case, by_one_process, traffic
from parallel_threads import CASES, in_threads, predicted, same_bits

from moe_plan.replica.parallel.calibrate import Point
from moe_plan.replica.parallel.expert_parallel import rounds_by_place
from moe_plan.replica.parallel.ownership import bounds
from moe_plan.spec.ffn import MoeFfn
from moe_plan.witness import wire
from moe_plan.witness.wire_time import fitted


def test_equal_to_one_process_to_the_bit():
    for name, case in CASES.items():
        assert same_bits(in_threads(case)[0], by_one_process(case)), name


def test_bytes_follow_from_the_choices():
    for name, case in CASES.items():
        assert [traffic(record) for record in in_threads(case)[1]] == predicted(case), name


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_layer_over_any_ranks_is_one_process(data):
    tokens = tuple(data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=5), label="tokens"))
    experts, zero = data.draw(st.integers(1, 9), label="experts"), data.draw(st.integers(0, 3), label="zero")
    top_k = data.draw(st.integers(1, experts + zero), label="top_k")
    case = Case(
        tokens, experts, top_k, zero,
        bias=data.draw(st.booleans()), weigh_input=top_k == 1 and data.draw(st.booleans()),
        dtype=data.draw(st.sampled_from(("float32", "bfloat16"))), seed=data.draw(st.integers(0, 99)),
    )  # fmt: skip
    out_TD, records = in_threads(case)
    assert same_bits(out_TD, by_one_process(case))
    assert [traffic(record) for record in records] == predicted(case)


def test_sums_only_round_otherwise():
    for name, rows in CASES.items():
        case = rows._replace(returns="sums")
        out_TD, one_TD = in_threads(case)[0], by_one_process(case)
        # Every rank's sum is rounded once more, by a unit in the last place of its size.
        unit = torch.finfo(one_TD.dtype).eps * len(case.tokens) * max(1.0, one_TD.abs().max().item())
        torch.testing.assert_close(
            out_TD, one_TD, rtol=0, atol=2 * unit, msg=lambda text, n=name: f"{n}: {text}"
        )


def test_sums_take_fewer_bytes():
    for name, rows in CASES.items():
        case = rows._replace(returns="sums")
        assert [traffic(record) for record in in_threads(case)[1]] == predicted(case), name
        back = [sum(of[2] for of in predicted(rows._replace(returns=kind))) for kind in ("rows", "sums")]
        assert back[1] < back[0] if case.top_k > 2 and sum(case.tokens) > 1 else back[1] <= back[0], name


def test_bytes_by_hand():
    """Rank 0 holds experts 0 and 1, rank 1 experts 2 and 3; 12 numbers of 4 bytes a row."""
    chosen = ((0, 1), (0, 2), (2, 3), (1, 3), (0, 2))
    case = Case((3, 2), experts=4, top_k=2, chosen=chosen)
    # Rank 0: tokens 1 and 2 go to rank 1, with one and two rows. Rank 1: both of its tokens go, a row each.
    by_hand = [
        # dispatch       rows back       counts of two experts and of tokens, and a word for each row
        [2 * 48, 2 * 48, 2 * 48, 3 * 48, 4 * (3 + 3), 4 * (3 + 2)],
        [2 * 48, 2 * 48, 3 * 48, 2 * 48, 4 * (3 + 2), 4 * (3 + 3)],
    ]
    assert predicted(case) == by_hand
    assert [traffic(record) for record in in_threads(case)[1]] == by_hand
    sums = case._replace(returns="sums")
    by_hand = [[96, 96, 96, 96, 4 * (3 + 6), 4 * (3 + 4)], [96, 96, 96, 96, 4 * (3 + 4), 4 * (3 + 6)]]
    assert predicted(sums) == by_hand
    assert [traffic(record) for record in in_threads(sums)[1]] == by_hand


def test_what_a_rank_keeps_touches_no_wire():
    case = Case((4, 0), experts=4, top_k=2, chosen=((0, 1), (0, 1), (1, 0), (0, 1)))
    kept = [sum(message.kept_bytes for message in record.messages) for record in in_threads(case)[1]]
    assert predicted(case)[0][:4] == [0, 0, 0, 0]
    # Four tokens and eight rows of 48 bytes; three counts and eight places. Rank 1 has its own counts alone.
    assert kept == [12 * 48 + 4 * 11, 4 * 3]


@pytest.mark.parametrize(
    ("experts", "ranks", "limits"),
    [(8, 2, (0, 4, 8)), (5, 2, (0, 3, 5)), (7, 4, (0, 2, 4, 6, 7)), (2, 4, (0, 1, 2, 2, 2)), (3, 1, (0, 3))],
)
def test_first_ranks_hold_one_more(experts, ranks, limits):
    assert bounds(experts, ranks) == limits


def test_uniform_routing_is_the_mean_over_all_choices():
    held, choices, top_k = (3, 2, 2), 9, 4
    every = [wire.routes([chosen], held) for chosen in combinations(range(choices), top_k)]
    guess = wire.uniform_routes(1, top_k, choices, held)
    for rank in range(3):
        assert guess[rank].tokens == pytest.approx(fmean(of[rank].tokens for of in every))
        assert guess[rank].rows == pytest.approx(fmean(of[rank].rows for of in every))


def test_a_line_through_calibration():
    points = [Point(size, 2e-4 + size * 3e-9) for size in (0, 1000, 65536, 1 << 20)]
    rate = fitted(points)
    assert rate.latency_seconds == pytest.approx(2e-4)
    assert rate.seconds_per_byte == pytest.approx(3e-9)
    assert fitted([Point(0, 1e-4), Point(0, 3e-4)]).seconds_per_byte == 0
    assert fitted([Point(1000, 1e-6), Point(2000, 3e-6)]).latency_seconds == 0


def test_where_bits_may_differ_is_known():
    """torch rounds the end of a contiguous tensor otherwise, and MKL few rows that are not aligned."""
    for odd in (
        Case((4, 4), experts=6, top_k=1, gated=False, inner=20),
        Case((4, 4), experts=6, top_k=2, width=13, inner=21),
    ):
        out_TD, _ = in_threads(odd)
        torch.testing.assert_close(out_TD, by_one_process(odd), rtol=1e-6, atol=1e-5)
    told = {
        (20, True, "silu", 12): False,
        (20, False, "silu", 12): True,
        (32, False, "silu", 12): False,
        (20, False, "relu2", 12): False,
        (90, True, "oai-swiglu", 12): True,
        (96, True, "oai-swiglu", 12): False,
        (20, True, "silu", 13): True,
        (21, True, "silu", 12): True,
        (22, True, "silu", 12): False,
    }
    for (inner, gated, activation, width), expected in told.items():
        spec = MoeFfn(kind="moe", experts=6, top_k=1, width=inner, gated=gated, activation=activation)
        assert rounds_by_place(spec, width) is expected, spec

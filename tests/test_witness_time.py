"""The roofline's own arithmetic: how operations are priced by given rates. Nothing here is timed."""

from __future__ import annotations

import os
from math import isclose

import pytest

if os.environ.get("CI"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="the replica needs torch: pip install -e '.[replica]'")

from moe_plan import api
from moe_plan.replica.call import Options
from moe_plan.replica.measure.calibrate import Probe, Rates, rescaled, typical
from moe_plan.replica.measure.fixed import OWN_BYTES, Fixed
from moe_plan.replica.measure.one_product import Memory
from moe_plan.replica.measure.products import ELEMENTS, LARGE, REACHES, RUNS, Products
from moe_plan.replica.measure.sharing import equal_reach
from moe_plan.replica.measure.sweeps import ACTIVATIONS, Sweeps
from moe_plan.replica.measure.tiny import MEASURED
from moe_plan.replica.measure.trace import Operation
from moe_plan.replica.shrink import shrink
from moe_plan.spec.catalogue import validated
from moe_plan.witness.curves import interpolated, linear
from moe_plan.witness.forwards import Replayed, recorded
from moe_plan.witness.pricing import costs, near, seconds, work
from moe_plan.witness.run import Shape


def test_between_points():
    points = ((1.0, 2.0), (100.0, 20.0))
    assert [linear(points, x) for x in (0.5, 1, 50.5, 100, 199)] == [2, 2, 11, 20, 38]
    assert [interpolated(points, x) for x in (0.5, 1, 100, 1e9)] == [2, 2, 20, 20]
    assert isclose(interpolated(points, 10), 2 * 10**0.5)
    assert interpolated(((1.0, 0.0), (4.0, 3.0)), 2.0) == 3.0


def test_reach_of_equal_seconds():
    steps = [(8.0, 1.0), (12.0, 1.0), (16.0, 3.0), (20.0, 2.0)]
    assert [equal_reach(steps, taken) for taken in (0.5, 1.0, 2.0, 3.0, 9.0)] == [8, 8, 14, 16, 20]


def rates(foreign=0.0):
    """Round numbers: a right-hand side costs 1, 2, 3, 4 an element by rows, ten times that transposed, and a
    hundred times from the farthest reach."""
    few = tuple(
        tuple(
            tuple(tuple((float(run), (row + 1) * turned * far) for run in RUNS) for row in range(4))
            for turned in (1.0, 10.0)
        )
        for far in (*[1.0] * (len(REACHES) - 1), 100.0)
    )
    products = Products(
        few,
        rise=((4.0, 0.0), (8.0, 4.0), (16.0, 12.0)),
        left_over=(0.25, 0.5, 0.75),
        inner=((64.0, 2.0), (512.0, 1.0)),
        large=((1.0,) * 4, (3.0,) * 4),
        out=((float(REACHES[0]), 0.0), (float(REACHES[-1]), 1000.0)),
        itemsize=4.0,
    )
    sweeps = Sweeps(
        elementwise=0.5,
        far=((float(REACHES[0]), 0.0), (float(REACHES[-1]), 7.0)),
        scattered=100.0,
        mask=3.0,
        transcendental=dict.fromkeys(ACTIVATIONS, 5.0) | {"exp_": 6.0},
        by_width=dict.fromkeys(("softmax", "reduction", "gather", "scatter"), ((8.0, 2.0), (64.0, 1.0))),
        sort=((256.0, 9.0),),
        convolution=11.0,
        batch=13.0,
    )
    chill = ((float(OWN_BYTES), 0.5), (float(100 * OWN_BYTES), 1.0), (float(10_000 * OWN_BYTES), 4.0))
    fixed = Fixed(dict.fromkeys(MEASURED, 1000.0) | {"view": 100.0}, 10.0, chill, (0.0, 0.0, 0.0))
    return Rates(fixed, products, sweeps, foreign)


def product(rows, **fields):
    given = {"inner": 512, "columns": 512, "elements": 512 * 512, "distance": 0, "recycled": 0} | fields
    return Operation("product", "mm", rows, **given)


@pytest.mark.parametrize(
    ("rows", "each"), [(1, 1), (3, 3), (4, 4), (5, 4.25), (8, 8), (10, 8.5), (16, 16), (32, 32)]
)
def test_rows_beyond_four_cost_each_the_same_and_those_left_over_more(rows, each):
    assert isclose(work(product(rows), rates(), 0), 512 * 512 * each)


def test_layout_reach_size_and_inner_width():
    size = 512 * 512
    assert isclose(work(product(2, transposed=True), rates(), 0), 20 * size)
    assert isclose(work(product(2, distance=None), rates(), REACHES[-1]), 200 * size)
    assert isclose(work(product(2, distance=REACHES[-1]), rates(), 0), 200 * size)
    narrow = product(8, inner=64, columns=4096)
    assert isclose(work(narrow, rates(), 0), size * (4 + 2 * 4))
    large = product(1, transposed=True, columns=LARGE // 512, elements=LARGE)
    assert isclose(work(large, rates(), 0), 30 * LARGE)
    assert size == ELEMENTS


def test_batches_and_results_that_were_written_long_ago():
    several = product(1, inner=16, columns=16, elements=5 * 256, batch=5)
    assert isclose(work(several, rates(), 0), 5 * 256 + 4 * 13)
    written = product(1, written_bytes=10, recycled=REACHES[-1])
    assert isclose(work(written, rates(), 0) - work(product(1), rates(), 0), 10 * 1000)


def test_work_by_class():
    def of(kind, name="", **fields):
        return near(Operation(kind, name, elements=100, bytes_moved=1000, **fields), rates())

    assert of("elementwise") == 500
    assert of("elementwise", scattered=True) == 500 + 100 * 100
    assert of("mask") == 300
    assert [of("transcendental", name) for name in ("silu_", "exp", "exp_", "unheard-of")] == [
        500,
        500,
        600,
        500,
    ]
    assert [of("softmax", width=width) for width in (8, 64, 512)] == [200, 100, 100]
    assert of("sort") == 900
    assert of("convolution") == 1100


def test_what_is_read_from_far_costs_more():
    operation = Operation("elementwise", "mul", elements=10, bytes_moved=80, written_bytes=30, recycled=0)
    assert work(operation._replace(distance=0), rates(), 0) == 40
    assert isclose(work(operation, rates(), REACHES[-1]), 40 + 50 * 7)


def test_a_line_of_code_is_cold_after_what_was_touched_in_between():
    again = Operation("view", "view", site=("a", 1))
    streaming = Operation("view", "view", site=("b", 1))
    loop, alone = costs([again] * 3, rates()), costs([again, *[streaming] * 99], rates())
    assert [fixed for fixed, _ in loop] == [50.0] * 3
    assert isclose(alone[0][0], 100.0)
    assert isclose(alone[2][0], 50.0)


def test_bytes_that_are_new_push_code_out():
    small_one = Operation("view", "view", site=("a", 1))
    bytes_moved = 10_000 * OWN_BYTES
    weights = Operation("elementwise", "mul", elements=1, bytes_moved=bytes_moved, site=("b", 1))
    (after_weights, _), _ = costs([small_one, weights], rates())
    assert isclose(after_weights, 400.0)
    (after_seen, _), _ = costs([small_one, weights._replace(distance=0)], rates())
    assert 50 < after_seen < 100


def test_parts_of_a_split():
    split = Operation("view", "split", results=2, site=("a", 1))
    pair, many = (costs([split._replace(results=results)], rates())[0][0] for results in (2, 12))
    assert isclose(many - pair, 0.5 * 10 * 10)


def test_what_others_bring_in_counts_as_touched():
    turns = [Operation("view", "view", site=(place, 1)) for place in "abab"]
    (quiet, *_), *_ = costs(turns, rates())
    assert 50 < quiet < 60
    # While one of them ran for `quiet` seconds, others brought in what makes the other one take 100.
    busy = costs(turns, rates(foreign=98 * OWN_BYTES / quiet))
    assert all(isclose(fixed, 100.0) for fixed, _ in busy)


def test_classes_add_up():
    spec = shrink(validated(api.load("deepseek-v2-lite").spec), 1 / 64).spec
    recording = recorded(spec, "fp32", Shape(2, 12, 1), Options(routing=Replayed(0), logits="last"))
    classes = seconds(recording.prefill, rates())
    assert isclose(sum(classes.values()), sum(map(sum, costs(recording.prefill, rates()))))
    assert {"overhead", "product", "batched-product", "softmax", "gather"} <= set(classes)
    assert "view" not in classes


def test_the_typical_calibration_is_the_median_of_every_number():
    low, high = rates(1.0), rates(9.0)
    middle = typical([high, low, rates(3.0)])
    assert isinstance(middle, Rates)
    assert middle == rates(3.0)
    odd = low._replace(fixed=low.fixed._replace(seconds=dict.fromkeys(low.fixed.seconds, 7.0)))
    assert typical([odd, odd, high]).fixed.seconds["mm"] == 7.0


def test_a_probe_rescales_what_changed():
    before, now = Probe(2.0, 5.0, 0.0), Probe(3.0, 10.0, 4.0)
    found = rescaled(rates(), before, now)
    assert found.fixed.seconds["mm"] == 1500.0
    assert found.fixed.part == 15.0
    assert found.foreign == 4.0
    assert found.products.few[0] == rates().products.few[0]
    assert found.products.few[-1][1][3][0] == (RUNS[0], 8000.0)
    assert found.sweeps == rates().sweeps


def test_memory_is_met_again_only_after_all_of_its_reach():
    memory = Memory(torch.arange(100.0))
    starts = [int(memory.piece(10, 4 * 35)[0]) for _ in range(5)]
    assert starts == [0, 10, 20, 0, 10]
    assert [int(memory.piece(10, 0)[0]) for _ in range(3)] == [0, 0, 0]

"""The roofline's own arithmetic: what is recorded of a forward, and how it is priced. Nothing here is timed."""

from __future__ import annotations

import os
from itertools import islice
from math import isclose

import pytest

if os.environ.get("CI"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="the replica needs torch: pip install -e '.[replica]'")

from moe_plan import api
from moe_plan.replica import build
from moe_plan.replica.call import Options
from moe_plan.replica.measure.calibrate import Probe, Rates, rescaled, typical
from moe_plan.replica.measure.fixed import OWN_BYTES, Fixed
from moe_plan.replica.measure.flops import FlopCounter
from moe_plan.replica.measure.loops import is_scattered
from moe_plan.replica.measure.products import ELEMENTS, LARGE, REACHES, RUNS, Memory, Products
from moe_plan.replica.measure.sharing import equal_reach
from moe_plan.replica.measure.sweeps import ACTIVATIONS, Sweeps
from moe_plan.replica.measure.tiny import MEASURED, SAME, measured_name, tiny_operations
from moe_plan.replica.measure.trace import Operation, Tracer
from moe_plan.replica.shrink import shrink
from moe_plan.spec.catalogue import validated
from moe_plan.witness.curves import interpolated, linear
from moe_plan.witness.forwards import Replayed, _forwards, recorded
from moe_plan.witness.pricing import costs, near, seconds, work
from moe_plan.witness.run import Shape

SHAPE = Shape(2, 12, 1)
MODELS = ("mixtral-8x7b", "gpt-oss-20b", "deepseek-v2-lite", "qwen3-next-80b-a3b", "llama-4-scout")


def small(name):
    return shrink(validated(api.load(name).spec), 1 / 64).spec


def options():
    return Options(routing=Replayed(0), logits="last")


def traced(work):
    with Tracer() as tracer:
        work()
    return tracer.operations


def placeless(operation):
    """But for where things lie: a forced routing, which is on the CPU, is copied to the meta device, and oneDNN
    lays out what it convolves in its own way."""
    return operation._replace(distance=0, recycled=0, scattered=False)


@pytest.mark.parametrize("name", MODELS)
def test_the_recording_is_what_runs(name):
    spec, chosen = small(name), options()
    recording = recorded(spec, "fp32", SHAPE, chosen)
    replica = build.materialise(build.on_meta(spec), torch.device("cpu"))
    with torch.no_grad():
        runs = [traced(run) for run in islice(_forwards(replica, SHAPE, chosen, 0), 2)]
    for expected, run in zip((recording.prefill, recording.decode), runs, strict=True):
        assert [placeless(operation) for operation in expected] == [placeless(operation) for operation in run]
        for one, other in zip(expected, run, strict=True):
            if one.rows:
                assert (one.distance is None) == (other.distance is None)
                assert abs((one.distance or 0) - (other.distance or 0)) <= 4096


@pytest.mark.parametrize("name", ("mixtral-8x7b", "gpt-oss-20b", "deepseek-v2-lite"))
def test_recorded_flops_are_those_that_are_counted(name):
    replica, chosen = build.on_meta(small(name)), options()
    for run in islice(_forwards(replica, SHAPE, chosen, 0), 2):
        with FlopCounter(replica.tensors()) as counter:
            operations = traced(run)
        assert sum(operation.flops for operation in operations) == counter.total > 0


def test_a_product_knows_how_its_right_hand_side_lies():
    x, w = torch.empty(3, 8), torch.empty(5, 8)
    plain, turned = traced(lambda: (torch.mm(x, w.t().contiguous()), torch.mm(x, w.t())))[-3::2]
    assert (plain.rows, plain.inner, plain.columns, plain.transposed) == (3, 8, 5, False)
    assert (turned.rows, turned.inner, turned.columns, turned.transposed) == (3, 8, 5, True)


def test_products_with_something_added_count_the_factors():
    boxes, bias = torch.zeros(2, 3, 4), torch.zeros(5)
    operations = traced(
        lambda: (
            torch.zeros(2, 3, 3).baddbmm_(boxes, boxes.transpose(1, 2)),
            torch.addmm(bias, boxes[0], torch.zeros(4, 5)),
        )
    )
    batched = next(operation for operation in operations if operation.name == "baddbmm_")
    added = next(operation for operation in operations if operation.name == "addmm")
    assert (batched.kind, batched.batch, batched.flops) == ("batched-product", 2, 2 * 2 * 3 * 4 * 3)
    assert (added.kind, added.rows, added.flops) == ("product", 3, 2 * 3 * 4 * 5)


def test_a_convolution_has_its_own_class():
    signal, taps = torch.zeros(1, 4, 9), torch.zeros(4, 1, 3)
    found = traced(lambda: torch.nn.functional.conv1d(signal, taps, groups=4))
    assert [operation.kind for operation in found if operation.kind != "view"] == ["convolution"]


def test_numbers_and_tensors_are_told_apart():
    x = torch.ones(4)
    assert [operation.name for operation in traced(lambda: (x * 2.0, x * x))] == ["mul number", "mul"]


def test_of_a_table_only_the_picked_rows_are_touched():
    table, rows = torch.zeros(1000, 8), torch.zeros(3, dtype=torch.long)
    picked, product = traced(
        lambda: (torch.nn.functional.embedding(rows, table), torch.mm(torch.zeros(2, 1000), table))
    )[::2]
    assert (picked.kind, picked.elements, picked.width) == ("gather", 24, 8)
    assert product.distance is None


def test_distance_is_what_was_touched_in_between():
    first, second, x = torch.zeros(64, 64), torch.zeros(64, 128), torch.zeros(2, 64)
    before, between, after = traced(lambda: [torch.mm(x, w) for w in (first, second, first)])
    assert before.distance is between.distance is None
    assert after.distance == 4 * 64 * 128


def test_an_operation_knows_the_line_that_calls_it():
    replica, chosen = build.on_meta(small("mixtral-8x7b")), options()
    operations = traced(next(iter(_forwards(replica, SHAPE, chosen, 0))))
    files = {operation.site[0].rpartition("replica")[2].replace("\\", "/") for operation in operations}
    assert {"/model.py", "/norm.py", "/attention/gqa.py", "/attention/attend.py", "/ffn/router.py"} <= files
    assert "/routing.py" not in files


def test_steps_over_elements_are_seen():
    x, column = torch.zeros(4, 8, 16), torch.zeros(4, 8, 1)
    assert not is_scattered(x, [x])
    assert not is_scattered(x, [column])
    assert not is_scattered(x[..., :8], [x[..., 8:]])
    assert not is_scattered(x.transpose(0, 1), [x.transpose(0, 1)])
    assert is_scattered(x[..., ::2], [x[..., 1::2]])
    assert is_scattered(torch.zeros(4, 16, 8), [x.transpose(1, 2)])


@pytest.mark.parametrize("name", sorted(MEASURED))
def test_a_tiny_operation_is_the_one_it_is_named_after(name):
    call = tiny_operations(torch.device("cpu"), torch.float32)[name]
    names = {measured_name(operation.name) for operation in traced(call)}
    assert name in names or names == {measured_name(name)}


def test_every_name_is_taken_for_a_measured_one():
    assert set(SAME.values()) <= MEASURED
    assert not set(SAME) & MEASURED
    assert measured_name("mul_ number") == "add_ number"
    assert measured_name("arange number") == "arange"
    assert measured_name("never heard of") == "add"


@pytest.mark.parametrize("name", MODELS)
def test_what_a_model_runs_is_known(name):
    recording = recorded(small(name), "fp32", SHAPE, options())
    names = {operation.name for operation in (*recording.prefill, *recording.decode)}
    known = MEASURED | set(SAME)
    assert not {each for each in names if each not in known and each.removesuffix(" number") not in known}


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
        by_width={kind: ((8.0, 2.0), (64.0, 1.0)) for kind in ("softmax", "reduction", "gather", "scatter")},
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
    assert ELEMENTS == size


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
    recording = recorded(small("deepseek-v2-lite"), "fp32", SHAPE, options())
    classes = seconds(recording.prefill, rates())
    assert isclose(sum(classes.values()), sum(map(sum, costs(recording.prefill, rates()))))
    assert {"overhead", "product", "batched-product", "softmax", "gather"} <= set(classes)
    assert "view" not in classes


def test_the_typical_calibration_is_the_median_of_every_number():
    low, high = rates(1.0), rates(9.0)
    middle = typical([high, low, rates(3.0)])
    assert isinstance(middle, Rates)
    assert middle == rates(3.0)
    odd = low._replace(fixed=low.fixed._replace(seconds={name: 7.0 for name in low.fixed.seconds}))
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


def test_a_replayed_routing_is_the_same_for_the_same_question_alone():
    routing = Replayed(0)
    first = routing.choose(0, 5, 2, 8)
    assert routing.choose(0, 5, 2, 8) is first
    assert routing.choose(0, 5, 3, 8).shape == (5, 3)
    assert int(routing.choose(0, 5, 2, 2).max()) == 1
    assert routing.choose(1, 5, 2, 8) is not first

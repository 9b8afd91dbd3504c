"""What is recorded of a forward on the meta device: which operations, of what size, from where."""

from __future__ import annotations

import os
from itertools import islice

import pytest

if os.environ.get("CI"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="the replica needs torch: pip install -e '.[replica]'")

from moe_plan import api
from moe_plan.replica import build
from moe_plan.replica.call import Options
from moe_plan.replica.measure.flops import FlopCounter
from moe_plan.replica.measure.loops import is_scattered
from moe_plan.replica.measure.tiny import MEASURED, SAME, measured_name, tiny_operations
from moe_plan.replica.measure.trace import Tracer
from moe_plan.replica.shrink import shrink
from moe_plan.spec.catalogue import validated
from moe_plan.witness.forwards import Replayed, _forwards, recorded
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


def test_a_replayed_routing_is_the_same_for_the_same_question_alone():
    routing = Replayed(0)
    first = routing.choose(0, 5, 2, 8)
    assert routing.choose(0, 5, 2, 8) is first
    assert routing.choose(0, 5, 3, 8).shape == (5, 3)
    assert int(routing.choose(0, 5, 2, 2).max()) == 1
    assert routing.choose(1, 5, 2, 8) is not first

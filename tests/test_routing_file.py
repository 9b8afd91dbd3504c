"""Files of expert counts: both formats read the same, and whatever is wrong is told in one line that names it."""

from __future__ import annotations

import io
import json
import time

import pytest
from bad_routing import FAULTS, GOOD, GOOD_CSV, WHOLE, but
from hypothesis import given
from hypothesis import strategies as st
from strategies import deterministic

from moe_plan.errors import CODES, InputError
from moe_plan.spec.routing_file import Pool, parse_routing, read_routing
from moe_plan.spec.routing_layers import spans

POOLS = {1: Pool(3, 2), 2: Pool(5, 1)}
COUNTS = ((), (4, 0, 9), (1, 2, 3, 0, 5))


def fault_of(text, pools=POOLS, where="counts.json"):
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(InputError) as caught:
        parse_routing(data, where, pools)
    assert caught.value.exit_code == 3
    (problem,) = caught.value.problems
    assert problem.where == where
    assert str(caught.value).isprintable()
    return problem


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        GOOD_CSV,
        "\ufeff" + GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD_CSV.replace("\n", "\r\n"),
        "\n" + GOOD_CSV + "\n\n",
        GOOD.replace("]\n ]}", "], []]}"),
        '{"layers": [[], [4, 0, 9], [1, 2, 3, 0, 5]], "format": "moe-plan\\/routing\\/v1"}',
        'count,"layer", expert\n9,1,2\n 4 ,1,0\n5,2,4\n3,2,2\n2,2,1\n1,2,0\n0,1,1\n',
    ],
)
def test_good_files(text):
    assert parse_routing(text.encode(), "counts", POOLS) == COUNTS


@pytest.mark.parametrize("name", FAULTS)
def test_bad_file_is_told_once_and_exactly(name):
    text, code, line, key, message = FAULTS[name]
    problem = fault_of(text)
    assert (problem.code, problem.line, problem.key, problem.message) == (code, line, key, message)


def test_every_code_is_met():
    met = {code for _, code, *_ in FAULTS.values()}
    assert {code for code in CODES if code.startswith("MP15")} <= met


@st.composite
def measured(draw):
    layers = draw(st.lists(st.lists(st.integers(0, 10**15), min_size=0, max_size=6), min_size=1, max_size=6))
    pools = {i: Pool(len(counts), 1) for i, counts in enumerate(layers) if any(counts)}
    return tuple(tuple(counts) if i in pools else () for i, counts in enumerate(layers)), pools


@deterministic
@given(measured(), st.randoms(use_true_random=False))
def test_both_formats_read_the_same(case, shuffle):
    layers, pools = case
    as_json = json.dumps(
        {"format": "moe-plan/routing/v1", "layers": layers}, indent=shuffle.choice((None, 1))
    )
    rows = [f"{i},{e},{count}" for i, counts in enumerate(layers) for e, count in enumerate(counts) if count]
    shuffle.shuffle(rows)
    as_csv = "\n".join(["layer,expert,count", *rows])
    expected = layers[: max(pools, default=-1) + 1]
    assert (
        parse_routing(as_json.encode(), "a", pools) == parse_routing(as_csv.encode(), "b", pools) == expected
    )


@deterministic
@given(st.text(st.sampled_from('{}[],:"0159 \nlayersformatcountexp.-\\'), max_size=60))
def test_anything_is_read_or_refused(text):
    for start in ("", '{"format": "moe-plan/routing/v1", "layers": [', "layer,expert,count\n"):
        try:
            parse_routing((start + text).encode(), "any", POOLS)
        except InputError as error:
            assert len(error.problems) == 1


def test_a_file_is_read_by_its_path(tmp_path):
    path = tmp_path / "counts.csv"
    path.write_text(GOOD_CSV, encoding="utf-8")
    assert read_routing(str(path), POOLS) == COUNTS
    with pytest.raises(InputError, match=r"missing.csv: error\[MP101\] no such file"):
        read_routing(str(tmp_path / "missing.csv"), POOLS)
    with pytest.raises(
        InputError, match=r"error\[MP103\] pickle files are never opened; give expert counts in JSON"
    ):
        read_routing("counts.pt", POOLS)


def test_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(GOOD.encode())))
    assert read_routing("-", POOLS) == COUNTS


def test_the_message_stands_on_one_line():
    rendered = str(InputError([fault_of(but("4, 0", "4.5, 0"))]))
    assert rendered == f"counts.json:4: error[MP152] layers.1.0: 4.5 {WHOLE}"


def test_a_large_file_is_read_soon():
    pools = {layer: Pool(512, 10) for layer in range(90)}
    layers = [[layer + expert + 1 for expert in range(512)] for layer in range(90)]
    text = json.dumps({"format": "moe-plan/routing/v1", "layers": layers}, indent=1)
    start = time.process_time()
    assert parse_routing(text.encode(), "large", pools) == tuple(map(tuple, layers))
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("layers", "text"), [((), "none"), ((4,), "4"), ((3, 1, 2), "1-3"), ((0, 2, 3, 9), "0, 2-3, 9")]
)
def test_spans(layers, text):
    assert spans(layers) == text

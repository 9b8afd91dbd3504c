"""20,000 nearly right specs: each is accepted, or refused in plain words, and nothing else happens."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from good_specs import GOOD_SPECS
from spec_mutations import accepted_specs, mutated_specs

from moe_plan.api import model
from moe_plan.errors import CODES, InputError
from moe_plan.estimate.formats import FORMATS
from moe_plan.plan.compare import compare
from moe_plan.plan.explain import explain
from moe_plan.plan.question import Question
from moe_plan.plan.scope import Scope
from moe_plan.report.compare import document
from moe_plan.report.compare_records import content
from moe_plan.report.json import json as to_json
from moe_plan.report.plain import plain
from moe_plan.spec.load import parse_spec, parse_spec_with_notes

SEEDS = range(10)
COUNT = 2_000
LINE = re.compile(r"fuzz\.yaml(:\d+:\d+)?: error\[(MP\d{3})\] .+")


def test_the_good_ones_are_good() -> None:
    names = [parse_spec_with_notes(text.encode(), "good.yaml") for text in GOOD_SPECS]
    assert [(spec.name, notes) for spec, notes in names] == [
        ("mixture", ()),
        ("hybrid", ()),
        ("encoder-decoder", ()),
    ]


def test_the_same_seed_gives_the_same_specs() -> None:
    assert list(mutated_specs(1, 50)) == list(mutated_specs(1, 50))
    assert list(mutated_specs(1, 50)) != list(mutated_specs(2, 50))


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_accepted_has_numbers(seed: int) -> None:
    """No exception, and nothing negative, from any number of any accepted spec."""
    for spec in accepted_specs(100 + seed, COUNT // 10):
        counted = model(spec)
        figures = compare((counted,), Question(context=77, batch=3))
        assert 0 <= counted.active_body_params <= counted.active_params <= counted.total_params
        assert min(counted.weight_bytes(), counted.kv_bytes(77), counted.decode_flops(77)) >= 0
        assert counted.decode_weight_bytes(3) >= 0
        for name in FORMATS:
            assert counted.weight_bytes(name) >= 0
        assert plain(document(figures))
        assert json.loads(to_json("compare", content(figures)))["models"][0]["total_params"] >= 0
        (text, *_) = explain(counted, Question(context=77), Scope()).groups
        assert text.sums.parameters == counted.total_params


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_but_input_errors(seed: int) -> None:
    met: Counter[str] = Counter()
    for data in mutated_specs(seed, COUNT):
        try:
            parse_spec(data, "fuzz.yaml")
            met["accepted"] += 1
        except InputError as error:
            met.update(checked_codes(error))
    assert met["accepted"] > COUNT // 20
    assert len(met) > 15


def checked_codes(error: InputError) -> list[str]:
    """The codes of an error whose every line is safe to print and has its parts."""
    lines = str(error).split("\n")
    assert 1 <= len(lines) <= 21
    for line in lines:
        assert line.isprintable(), line
        line.encode()
        assert LINE.fullmatch(line) or re.fullmatch(r"and \d+ more problems?", line), line
    positions = [(problem.line or 0, problem.column or 0) for problem in error.problems]
    assert positions == sorted(positions)
    codes = [problem.code for problem in error.problems]
    assert set(codes) <= set(CODES)
    return codes

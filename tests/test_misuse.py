"""Mistakes that were once accepted in silence: misspelt format rules, impossible arguments, wrong figures."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from conftest import ROOT, run_cli

import moe_plan
from moe_plan.errors import InputError
from moe_plan.spec.load import parse_spec

SPEC = """name: tiny
source: a test
published: {source: nobody%s}
hidden: 64
vocab: 100
attention:
  main: {kind: gqa, heads: 4, kv_heads: 2, head_dim: 16%s}
ffn:
  experts: {kind: moe, experts: 8, top_k: 2, width: 32}
layers:
  - {repeat: 2, attention: main, ffn: experts}
"""
PLAIN = SPEC % ("", "")


def with_rule(name):
    return PLAIN + f"native: {{rules: [{{format: int8, tensors: [{name}]}}]}}\n"


@pytest.mark.parametrize(
    ("name", "near"), [("routed_expert", "routed_experts"), ("atention", "attention"), ("mtp", "")]
)
def test_a_misspelt_class_in_a_format_rule_is_told_where_it_stands(name, near):
    with pytest.raises(InputError) as caught:
        parse_spec(with_rule(name).encode(), "x.yaml")
    (problem,) = caught.value.problems
    assert (problem.code, problem.line, problem.key) == ("MP130", 12, "native.rules.0.tensors.0")
    assert near in problem.message


def test_a_misspelt_tensor_in_a_format_rule_is_told(tmp_path):
    assert moe_plan.model(parse_spec(with_rule("experts.gate").encode(), "x.yaml")).weight_bytes() > 0
    (tmp_path / "x.yaml").write_text(with_rule("experts.gates"), encoding="utf-8")
    with pytest.raises(InputError, match=r"did you mean experts\.gate"):
        moe_plan.load(tmp_path / "x.yaml")
    ran = run_cli("compare", "x.yaml", cwd=tmp_path)
    assert (ran.code, ran.out) == (3, "")


def test_a_rule_by_class_and_by_all_its_tensors_gives_the_same_bytes():
    by_class = moe_plan.model(parse_spec(with_rule("routed_experts").encode(), "x.yaml"))
    names = "experts.gate, experts.up, experts.down"
    by_name = moe_plan.model(parse_spec(with_rule(names).encode(), "x.yaml"))
    assert (
        by_class.weight_bytes() == by_name.weight_bytes() < moe_plan.model(by_class.spec).weight_bytes("bf16")
    )


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("kv_bytes", (-1,)),
        ("kv_bytes_per_token", ("bf16", -1)),
        ("max_context", (-1,)),
        ("decode_flops", (-1,)),
        ("prefill_flops_per_token", (0,)),
        ("training_flops_per_token", (-1,)),
        ("distinct_experts", (0,)),
        ("decode_weight_bytes", (-3,)),
    ],
)
def test_impossible_numbers_are_refused(method, arguments):
    model = moe_plan.load("mixtral-8x7b")
    with pytest.raises(ValueError, match="must be at least"):
        getattr(model, method)(*arguments)


@pytest.mark.parametrize("value", [1.5, True, math.nan, "7", None])
def test_what_is_no_whole_number_is_refused(value):
    model = moe_plan.load("mixtral-8x7b")
    for method in ("kv_bytes", "distinct_experts", "decode_flops"):
        with pytest.raises(TypeError, match="whole number"):
            getattr(model, method)(value)


def test_what_is_no_name_is_refused():
    with pytest.raises(TypeError, match="must be a name"):
        moe_plan.load("mixtral-8x7b").weight_bytes(None)


def test_a_path_object_is_a_path():
    path = ROOT / "model_specs" / "mixtral-8x7b.yaml"
    assert isinstance(path, Path)
    assert moe_plan.load(path).total_params == moe_plan.load("mixtral-8x7b").total_params


def test_a_model_shows_its_name_only():
    assert repr(moe_plan.load("mixtral-8x7b")) == "Model('mixtral-8x7b')"


@pytest.mark.parametrize(
    ("published", "warned"),
    [
        (", exact: 38000", ["exact"]),
        (", total: 5M, active: 3M", ["total", "active"]),
        (", total: 137K, active: 63.3K, exact: 137024", []),
    ],
)
def test_published_figures_are_held_against_the_layers(tmp_path, published, warned):
    (tmp_path / "x.yaml").write_text(SPEC % (published, ""), encoding="utf-8")
    assert moe_plan.load(tmp_path / "x.yaml").total_params == 137_024
    ran = run_cli("compare", "x.yaml", cwd=tmp_path)
    assert ran.code == 0
    assert [line.split("published.")[1].split(":")[0] for line in ran.err.splitlines()] == warned


def test_the_catalogue_warns_of_nothing():
    assert run_cli("compare", "grok-1", "qwen3-next-80b-a3b").err == ""


def test_a_decoder_is_causal():
    with pytest.raises(InputError, match="encoders and towers"):
        parse_spec((SPEC % ("", ", causal: false")).encode(), "x.yaml")


def test_standard_input_is_read_once():
    ran = run_cli("compare", "-", "-", stdin=PLAIN)
    assert (ran.code, ran.out) == (2, "")
    assert "stands twice" in ran.err


def test_a_layer_without_the_component_says_so():
    ran = run_cli("explain", "deepseek-v3", "--layer", "0", "--component", "router")
    assert (ran.code, ran.out) == (3, "")
    assert "decoder:0 has none of this component" in ran.err


def test_a_read_only_file_is_not_replaced_and_a_mode_is_kept(tmp_path):
    target = tmp_path / "out.json"
    target.write_text("old", encoding="utf-8")
    target.chmod(0o640)
    assert run_cli("compare", "dbrx", "-o", f"json={target}").code == 0
    assert target.stat().st_mode & 0o777 == 0o640
    assert target.read_text(encoding="utf-8") != "old"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("compare", "dbrx", "--weights", "int4"), "int4-g32"),
        (("compare", "dbrx", "--kv", "q8"), "q8_0"),
        (("compare", "dbrx", "-o", "json=-"), "--format json"),
    ],
)
def test_hints(arguments, hint):
    ran = run_cli(*arguments)
    assert ran.code in (2, 3)
    assert hint in ran.err


@pytest.mark.parametrize(
    ("key", "wrong", "hint"), [("vocab", "vocab_size", "vocab"), ("kind: gqa", "kind: gpa", "gqa")]
)
def test_one_mistake_is_one_error_with_a_hint(key, wrong, hint):
    with pytest.raises(InputError) as caught:
        parse_spec(PLAIN.replace(key, wrong, 1).encode(), "x.yaml")
    (problem,) = caught.value.problems
    assert f"did you mean {hint}" in problem.message

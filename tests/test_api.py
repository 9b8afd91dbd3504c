"""The typed API as the README shows it: names in, exact numbers out, errors that say what is known."""

from __future__ import annotations

import dataclasses
import pickle
from fractions import Fraction

import pytest
from pydantic import ValidationError

import moe_plan
from moe_plan.errors import InputError
from moe_plan.estimate.cache import KV_FORMATS
from moe_plan.estimate.formats import FORMATS
from moe_plan.spec.attention import Attention
from moe_plan.spec.ffn import DenseFfn, MoeFfn
from moe_plan.spec.model import ModelSpec, Published, Run

YAML = """\
name: tiny
source: a test
published: {source: a test}
hidden: 64
vocab: 1000
attention:
  gqa: {kind: gqa, heads: 4, kv_heads: 2, head_dim: 16}
ffn:
  experts: {kind: moe, experts: 4, top_k: 2, width: 96}
layers:
  - {repeat: 2, attention: gqa, ffn: experts}
"""


def test_a_shipped_model():
    shipped = moe_plan.load("deepseek-v3")
    assert shipped.name == "deepseek-v3"
    assert shipped.total_params == 671_026_404_352
    assert shipped.active_params == 37_552_282_624
    assert shipped.components["routed_experts"] == 58 * 256 * 3 * 7168 * 2048
    assert shipped.weight_bytes() == 673_150_611_808
    assert shipped.weight_bytes("bf16") == 2 * shipped.total_params + 4 * 58 * 256
    assert sum(shipped.component_bytes().values()) == shipped.weight_bytes()
    assert shipped.kv_bytes_per_token() == 70_272
    assert shipped.kv_bytes(32_768, kv="fp8") == 32_768 * 70_272 // 2
    assert shipped.max_context(80 * 10**9) == 80 * 10**9 // 70_272
    assert isinstance(shipped.prefill_flops_per_token(4096), Fraction)
    assert shipped.decode_weight_bytes(1) < shipped.decode_weight_bytes(32) < shipped.weight_bytes()


def test_names_of_shipped_models():
    names = moe_plan.models()
    assert list(names) == sorted(names)
    assert {"mixtral-8x7b", "deepseek-v3", "llama-4-maverick"} <= set(names)


def test_a_file(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(YAML, encoding="utf-8")
    mine = moe_plan.load(str(path))
    layer = 2 * 64 * 4 * 16 + 2 * 64 * 2 * 16 + 64 * 4 + 4 * 3 * 64 * 96 + 2 * 64
    assert mine.total_params == 2 * layer + 2 * 64_000 + 64
    assert mine.active_params == mine.total_params - 2 * 2 * 3 * 64 * 96


def test_a_spec_built_in_python():
    spec = ModelSpec(
        name="tiny",
        source="a test",
        published=Published(source="a test"),
        hidden=64,
        vocab=1000,
        attention={"gqa": Attention(kind="gqa", heads=4, kv_heads=2, head_dim=16)},
        ffn={
            "dense": DenseFfn(kind="dense", width=96),
            "moe": MoeFfn(kind="moe", experts=4, top_k=2, width=96),
        },
        layers=(Run(attention="gqa", ffn="dense"), Run(attention="gqa", ffn="moe")),
    )
    mine = moe_plan.model(spec)
    assert mine.components["dense_mlp"] == 3 * 64 * 96
    assert mine.distinct_experts(1) == pytest.approx(2)


def test_every_format_of_weights_and_cache():
    shipped = moe_plan.load("mixtral-8x7b")
    for name in FORMATS:
        assert 0 < shipped.weight_bytes(name) <= shipped.weight_bytes("fp32")
        assert shipped.checkpoint_bytes(name) == shipped.weight_bytes(name)
    for name in KV_FORMATS:
        assert 0 < shipped.kv_bytes(1000, name) <= shipped.kv_bytes(1000, "fp32")


def test_a_model_is_a_value():
    shipped = moe_plan.load("mixtral-8x7b")
    with pytest.raises(dataclasses.FrozenInstanceError):
        shipped.spec = None
    with pytest.raises(ValidationError, match="frozen"):
        shipped.spec.hidden = 1
    with pytest.raises(AttributeError, match="read-only"):
        shipped.fields.hidden = 1
    assert shipped.inventory == moe_plan.load("mixtral-8x7b").inventory
    assert pickle.loads(pickle.dumps(shipped.inventory)) == shipped.inventory


@pytest.mark.parametrize(
    ("question", "near", "code"),
    [
        (lambda: moe_plan.load("mixtral-8x7"), "mixtral-8x7b", "MP301"),
        (lambda: moe_plan.load("mixtral-8x7b").weight_bytes("fp8-blok"), "fp8-block", "MP302"),
        (lambda: moe_plan.load("mixtral-8x7b").kv_bytes(1, "bf61"), "bf16", "MP303"),
    ],
)
def test_wrong_names_are_input_errors(question, near, code):
    with pytest.raises(InputError) as raised:
        question()
    (problem,) = raised.value.problems
    assert problem.code == code
    assert near in problem.message
    assert raised.value.exit_code == 3


def test_unknown_attributes_are_attribute_errors():
    with pytest.raises(AttributeError, match="no_such_thing"):
        moe_plan.no_such_thing  # noqa: B018

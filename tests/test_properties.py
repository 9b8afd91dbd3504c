"""What holds for every model: sums, orderings, splittings, scalings, and the lock's round trip."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import ATTENTION_KINDS, dense, deterministic, moe, on_models, specs

from moe_plan.anatomy.attention import attention_body
from moe_plan.anatomy.build import inventory
from moe_plan.anatomy.ffn import ffn_body
from moe_plan.api import model
from moe_plan.estimate import params
from moe_plan.spec.ffn import MoeFfn
from moe_plan.spec.fields import Component, Frozen
from moe_plan.spec.locked import thaw
from moe_plan.spec.model import ModelSpec, Run

without_zero = moe(zero_experts=st.just(0))


def layer_params(spec: ModelSpec) -> int:
    blocks = [b for b in inventory(spec).blocks if b.role == "decoder" and b.layers]
    return sum(b.count * w.copies * w.elements for b in blocks for w in b.weights if params.is_parameter(w))


@on_models
@given(specs())
def test_components_sum_to_the_total(spec):
    counted = model(spec)
    assert sum(counted.components.values()) == counted.total_params
    assert set(counted.components) <= set(params.COMPONENTS)
    assert list(counted.components) == [name for name in params.COMPONENTS if name in counted.components]


@on_models
@given(specs())
def test_active_counts_are_ordered(spec):
    counted = model(spec)
    assert 0 <= counted.active_body_params <= counted.active_compute_params
    assert counted.active_compute_params <= counted.active_params <= counted.total_params
    assert params.mean_active_params(counted.inventory) <= counted.active_params


@on_models
@given(specs(ffn=without_zero))
def test_mean_active_is_active_without_zero_experts(spec):
    counted = inventory(spec)
    assert params.mean_active_params(counted) == params.active_params(counted)


@on_models
@given(specs(kinds=("gqa", "mla"), ffn=dense))
def test_a_dense_model_is_active_as_a_whole(spec):
    counted = model(spec)
    assert counted.active_params == counted.total_params


@on_models
@given(specs())
def test_parts_are_apart(spec):
    """Dropping all parts but encoders changes no number of the text model."""
    text = {name: part for name, part in spec.parts.items() if part.role == "encoder"}
    alone, whole = model(spec.model_copy(update={"parts": text})), model(spec)
    assert alone.components == whole.components
    assert alone.active_params == whole.active_params
    assert alone.weight_bytes() == whole.weight_bytes()
    assert alone.kv_bytes(77) == whole.kv_bytes(77)
    assert alone.decode_flops(77) == whole.decode_flops(77)
    assert alone.decode_weight_bytes(3) == whole.decode_weight_bytes(3)
    assert alone.parts == {}


@on_models
@given(specs())
def test_tying_the_head_removes_one_table(spec):
    tied = model(spec.model_copy(update={"tied": True}))
    untied = model(spec.model_copy(update={"tied": False}))
    table = spec.vocab * spec.hidden
    assert untied.total_params - tied.total_params == table
    assert untied.active_params - tied.active_params == table
    assert untied.active_compute_params == tied.active_compute_params
    assert untied.active_body_params == tied.active_body_params
    assert untied.decode_flops(9) == tied.decode_flops(9)
    assert untied.kv_bytes(9) == tied.kv_bytes(9)


@on_models
@given(specs(), st.integers(2, 5))
def test_repeating_multiplies_the_layers(spec, times):
    repeated = spec.model_copy(update={"layers": (Run(repeat=times, pattern=spec.layers),)})
    assert layer_params(repeated) == times * layer_params(spec)
    once, more = model(spec), model(repeated)
    outside = once.total_params - layer_params(spec)
    assert more.total_params == outside + times * layer_params(spec)


@on_models
@given(specs(), st.integers(1, 4), st.integers(1, 4))
def test_splitting_a_run_changes_nothing(spec, left, right):
    head, *tail = spec.layers

    def with_layers(*runs: Run) -> object:
        return inventory(spec.model_copy(update={"layers": (*runs, *tail)}))

    def repeated(times: int) -> Run:
        return head.model_copy(update={"repeat": times})

    assert with_layers(repeated(left + right)) == with_layers(repeated(left), repeated(right))


@on_models
@given(specs())
def test_wrapping_in_a_pattern_changes_nothing(spec):
    wrapped = spec.model_copy(update={"layers": (Run(pattern=spec.layers),)})
    assert inventory(wrapped) == inventory(spec)


@on_models
@given(specs())
def test_layers_are_numbered_once_each(spec):
    """The decoder's blocks share out 0..L-1, and every sum is over that list."""

    def length(run: Run) -> int:
        return run.repeat * (sum(length(inner) for inner in run.pattern) if run.pattern else 1)

    found = sorted(index for b in inventory(spec).blocks if b.part == "decoder" for index in b.layers)
    weightless = sum(length(run) for run in spec.layers) - len(found)
    assert len(found) == len(set(found))
    assert weightless == 0


@on_models
@given(specs())
def test_tensor_names_are_unique_in_a_block(spec):
    for block in inventory(spec).blocks:
        # Tensors that a spec adds under one name twice are its own affair.
        names = [w.name for w in block.weights if not w.name.startswith("extra.")]
        assert len(names) == len(set(names))


@on_models
@given(specs())
def test_a_lock_holds_the_same_model(spec):
    locked = thaw(json.loads(json.dumps(spec.model_dump(mode="json"))))
    assert type(locked) is not ModelSpec
    assert inventory(locked) == inventory(spec)
    assert model(locked).weight_bytes() == model(spec).weight_bytes()
    assert model(locked).checkpoint_bytes() == model(spec).checkpoint_bytes()


@on_models
@given(specs())
def test_counts_are_integers(spec):
    counted = model(spec)
    numbers = [
        counted.total_params,
        counted.active_params,
        counted.active_compute_params,
        counted.active_body_params,
        params.mean_active_params(counted.inventory),
        counted.weight_bytes(),
        counted.checkpoint_bytes(),
        counted.kv_bytes_per_token(),
        *counted.components.values(),
        *counted.component_bytes().values(),
    ]
    assert {type(number) for number in numbers} == {int}


@on_models
@given(specs())
def test_tensor_parallelism_cuts_evenly(spec):
    for block in inventory(spec).blocks:
        for weight in block.weights:
            assert weight.max_tp >= 1
            assert (weight.copies * weight.elements) % weight.max_tp == 0, weight
        for state in block.states:
            assert state.elements % state.max_tp == 0, state


@pytest.mark.parametrize("kind", ATTENTION_KINDS)
@deterministic
@given(data=st.data())
def test_every_kind_is_whole(kind, data):
    """No kind leaves a size at zero, and each component it names is known."""
    body = attention_body(data.draw(ATTENTION_KINDS[kind]), data.draw(st.integers(1, 40)))
    assert body.weights
    assert all(w.elements > 0 and w.component in params.COMPONENTS for w in body.weights)
    assert all(op.flops > 0 for op in body.operations)
    assert len({s.name for s in body.states}) == len(body.states)


@deterministic
@given(without_zero, st.integers(1, 40))
def test_experts_closed_form(block: MoeFfn, hidden):
    """E * 3 * d * f (2 without a gate) in the width the experts work in, biases on top."""
    rows = ffn_body(block, hidden, 50).weights
    inner, matrices = block.latent or hidden, 3 if block.gated else 2
    routed = block.experts * matrices * inner * block.width
    if block.bias:
        routed += block.experts * ((matrices - 1) * block.width + inner)
    routed += hidden if block.output_bias else 0
    routed += 2 * hidden * block.latent if block.latent else 0
    assert sum(w.copies * w.elements for w in rows if w.component == "routed_experts") == routed
    shared = matrices * hidden * block.shared_width if block.shared_width else 0
    assert sum(w.elements for w in rows if w.component == "shared_experts") == shared
    assert sum(w.elements for w in rows if w.component == "shared_expert_gate") == (
        hidden if block.shared_gate else 0
    )


@deterministic
@given(ATTENTION_KINDS["mla"], st.integers(1, 40))
def test_mla_closed_form(block, hidden):
    """d*r_q + r_q + r_q*h*(nope+rope) (or d*h*(nope+rope)), d*(r+rope) + r + r*h*(nope+v), h*v*d; the indexer's."""
    query = block.heads * (block.nope_dim + block.rope_dim)
    expected = hidden * query if block.q_rank is None else block.q_rank * (hidden + 1 + query)
    expected += hidden * (block.kv_rank + block.rope_dim) + block.kv_rank
    expected += (
        block.kv_rank * block.heads * (block.nope_dim + block.v_dim) + block.heads * block.v_dim * hidden
    )
    if block.indexer is not None and not block.indexer.shared:
        keys, heads = block.indexer.head_dim, block.indexer.heads
        expected += (block.q_rank or hidden) * heads * keys + hidden * keys + 2 * keys + hidden * heads
    assert sum(w.copies * w.elements for w in attention_body(block, hidden).weights) == expected


def test_huge_sizes_stay_exact():
    """2^30 x 2^30 matrices in 10,000 layers: beyond float64 and int64, still whole numbers."""
    size, layers = 1 << 30, 10_000
    spec = ModelSpec.model_validate_json(
        json.dumps(
            {
                "name": "huge",
                "source": "this test",
                "published": {"source": "this test"},
                "hidden": size,
                "vocab": size,
                "attention": {"a": {"kind": "gqa", "heads": size, "kv_heads": size, "head_dim": 1}},
                "ffn": {"f": {"kind": "moe", "experts": size, "top_k": 3, "width": size}},
                "layers": [{"repeat": layers, "attention": "a", "ffn": "f"}],
            }
        )
    )
    counted = model(spec)
    layer = 4 * size**2 + size**2 + size * 3 * size**2 + 2 * size
    assert counted.total_params == layers * layer + 2 * size**2 + size
    active = 4 * size**2 + size**2 + 3 * 3 * size**2 + 2 * size
    assert counted.active_params == layers * active + 2 * size**2 + size
    assert counted.weight_bytes("bf16") == 2 * counted.total_params
    assert counted.kv_bytes(size) == 2 * 2 * layers * size * size
    assert counted.max_context(2 * 2 * layers * size * size + 1) == size
    assert counted.prefill_flops_per_token(size) == counted.decode_flops(0) + Fraction(
        4 * layers * size * (size + 1), 2
    )


# Text and figures that no number follows from.
NOT_DRAWN = {"name", "source", "license", "note", "published", "context", "kind", "copy_of", "exact_source"}


def test_every_component_of_the_schema_has_its_place_in_tables():
    assert sorted(params.COMPONENTS) == sorted(get_args(Component))


def test_every_option_is_drawn():
    """The random specs of these tests leave no field of the schema at one value."""
    seen: dict[tuple[str, str], set[str]] = {}

    def visit(value: object) -> None:
        if isinstance(value, Frozen):
            for field in type(value).model_fields:
                seen.setdefault((type(value).__name__, field), set()).add(repr(getattr(value, field)))
                visit(getattr(value, field))
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else ():
            visit(inner)

    @settings(deterministic, max_examples=200)
    @given(specs(), st.tuples(*ATTENTION_KINDS.values()))
    def draw(spec: ModelSpec, blocks: tuple[Frozen, ...]) -> None:
        visit(spec)
        visit(blocks)

    draw()
    constant = {key for key, values in seen.items() if len(values) < 2 and key[1] not in NOT_DRAWN}
    assert constant <= {("Published", field) for field in ("total", "active", "convention", "exact")}
    assert len(seen) > 100

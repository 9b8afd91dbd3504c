"""Recurrent mixers of the replica: against transformers, themselves in pieces, and the inventory."""

from __future__ import annotations

import os

import pytest

if os.environ.get("CI"):
    import torch
    import transformers
else:
    REASON = "the referee needs the test extra: pip install -e '.[test]' (torch, transformers)"
    torch = pytest.importorskip("torch", reason=REASON)
    transformers = pytest.importorskip("transformers", reason=REASON)

from mixers import (
    HIDDEN,
    NORM,
    at_once,
    call_of,
    counted,
    difference,
    held,
    in_pieces,
    inputs,
    predicted,
    predicted_shapes,
    shapes,
)
from referee_recurrence import FAMILIES, KINDS

from moe_plan.anatomy.attention import attention_body
from moe_plan.spec.catalogue import find

TOKENS = 19
PIECES = {
    "whole": [19],
    "steps": [1] * 19,
    "prompt": [9] + [1] * 10,
    "two": [2] + [1] * 17,
    "chunks": [8, 4, 7],
    "mixed": [1, 6, 1, 11],
}
CLOSE = 3e-6
"""Of the largest value: float32 sums in another order."""
every = pytest.mark.parametrize("name", FAMILIES)
one_of_a_kind = pytest.mark.parametrize("name", KINDS.values(), ids=KINDS)


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def goes_on(pieces):
    """Whether several tokens at once come after others."""
    return any(new > 1 for new in pieces[1:])


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        pytest.param(name, pieces, id=f"{name}, {each}")
        for name, family in FAMILIES.items()
        for each, pieces in PIECES.items()
        if family.goes_on or not goes_on(pieces)
    ],
)
def test_transformers_computes_the_same(name, pieces):
    family = FAMILIES[name]
    ours, x = family.ours(), inputs(2, TOKENS)
    theirs, states = family.theirs(ours), []
    mixed = in_pieces(ours, x, pieces, lambda _, state: states.append(state))
    assert difference(mixed, theirs.in_pieces(x, pieces)) < CLOSE
    if theirs.recurrent is not None:
        kept = next(
            kept for name, kept in states[-1].items() if name.endswith(("recurrent_state", "ssm_state"))
        )
        assert difference(family.state(kept.value), theirs.recurrent) < CLOSE


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("pieces", PIECES)
@every
def test_pieces_make_no_difference(name, pieces, batch):
    ours, x = FAMILIES[name].ours(), inputs(batch, TOKENS)
    assert difference(in_pieces(ours, x, PIECES[pieces]), at_once(ours, x)) < CLOSE


@every
def test_sequences_do_not_mix(name):
    ours, x = FAMILIES[name].ours(), inputs(3, TOKENS)
    alone = torch.cat([at_once(ours, x[i : i + 1]) for i in range(3)])
    assert difference(at_once(ours, x), alone) < CLOSE


@one_of_a_kind
def test_every_tensor_has_a_say(name):
    """No parameter is declared and then forgotten."""
    ours, x = FAMILIES[name].ours(), inputs(1, TOKENS)
    before, generator = at_once(ours, x), torch.Generator().manual_seed(3)
    for tensor_name, tensor in ours.tensors():
        saved = tensor.clone()
        tensor.add_(torch.randn(tensor.shape, generator=generator), alpha=0.1)
        assert difference(at_once(ours, x), before) > 1e-4, tensor_name
        tensor.copy_(saved)
    assert difference(at_once(ours, x), before) == 0.0


@every
def test_tensors_are_those_of_the_inventory(name):
    ours = FAMILIES[name].ours()
    assert shapes(ours) == predicted_shapes(ours.spec)


@pytest.mark.parametrize("batch", [1, 3])
@every
def test_prefill_multiplies_what_is_predicted(name, batch):
    ours, x = FAMILIES[name].ours(), inputs(batch, TOKENS)
    expected = predicted(ours.spec, "prefill", TOKENS, TOKENS)
    flops = counted(ours, lambda: at_once(ours, x))
    assert flops == {part: batch * count for part, count in expected.items()}


@pytest.mark.parametrize("new", [1, 4])
@every
def test_later_tokens_multiply_what_is_predicted(name, new):
    ours, x = FAMILIES[name].ours(), inputs(3, TOKENS)
    state, first = ours.state(3, TOKENS, x), TOKENS - new
    ours(x[:, :first], state, call_of(x[:, :first]))
    last = x[:, first:]
    flops = counted(ours, lambda: ours(last, state, call_of(last, first)))
    expected = predicted(ours.spec, "decode", new, TOKENS)
    assert flops == {part: 3 * count for part, count in expected.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@every
def test_states_are_those_of_the_inventory(name, dtype):
    """Of fixed size from the first token on; recurrent states in float32, convolutions' in the model's type."""
    ours, x = FAMILIES[name].ours().to(dtype), inputs(2, TOKENS).to(dtype)
    states = attention_body(ours.spec, HIDDEN, HIDDEN).states
    assert all(state.reach is None for state in states)

    def watch(_, state):
        assert held(state) == {s.name: s.elements for s in states}
        widths = {s.name: 4 if s.dtype == "fp32" else x.element_size() for s in states}
        assert {name: kept.itemsize for name, kept in state.items()} == widths
        for kept in state.values():
            assert kept.allocated_bytes == kept.held_elements * kept.itemsize

    in_pieces(ours, x, PIECES["mixed"], watch)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("batch", [1, 3])
@every
def test_narrow_types(name, batch, dtype):
    """No further from float32 than the class in the same type, give or take their different roundings."""
    ours, x = FAMILIES[name].ours(), inputs(batch, TOKENS)
    wide, theirs = at_once(ours, x), FAMILIES[name].theirs(ours)
    theirs.attention.to(dtype)
    limit = 2 * difference(theirs.in_pieces(x.to(dtype), [TOKENS]), wide)
    narrow = in_pieces(ours.to(dtype), x.to(dtype), [9, 1, 1, 8])
    assert narrow.dtype == dtype
    assert difference(narrow, wide) < limit < 0.2


@one_of_a_kind
def test_on_meta(name):
    family = FAMILIES[name]
    ours, x = family.make(family.spec, HIDDEN, NORM), torch.empty((2, TOKENS, HIDDEN), device="meta")
    for mixed in (at_once(ours, x), in_pieces(ours, x, PIECES["mixed"])):
        assert mixed.is_meta
        assert mixed.shape == x.shape


FULL_WIDTH = {
    "qwen3-next-80b-a3b": "delta",
    "kimi-linear-48b-a3b": "kda",
    "minimax-text-01": "lightning",
    "jamba-1.5-mini": "mamba",
    "granite-4.0-h-tiny": "mamba",
    "nemotron-3-nano-30b-a3b": "mamba",
    "lfm2-8b-a1b": "conv",
}


@pytest.mark.parametrize(("name", "block"), FULL_WIDTH.items())
def test_full_width_on_meta(name, block):
    """As published: tensors, and the FLOPs of a few tokens."""
    spec = find(name)
    kind = spec.attention[block]
    ours = FAMILIES[KINDS[kind.kind]].make(kind, spec.hidden, NORM)
    body = attention_body(kind, spec.hidden)
    assert shapes(ours) == {w.name: w.shape for w in body.weights}
    x = torch.empty((1, 3, spec.hidden), device="meta")
    expected = {w.name: 3 * w.flops_per_token for w in body.weights if w.flops_per_token}
    expected |= {o.name: 3 * o.flops for o in body.operations}
    assert counted(ours, lambda: at_once(ours, x)) == expected

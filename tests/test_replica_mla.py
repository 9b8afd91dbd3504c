"""Multi-head latent attention and its sparse choice: against transformers, itself, and the inventory."""

from __future__ import annotations

import math
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
    made,
    predicted,
    predicted_shapes,
    shapes,
)
from referee_latent import FAMILIES, TOP_K, shared_choice

from moe_plan.replica.attention.mla import MlaMixer
from moe_plan.replica.attention.spans import spans
from moe_plan.replica.attention.temperature import position_factors
from moe_plan.spec.attention import MlaAttention
from moe_plan.spec.rope import Temperature

TOKENS = 19
PIECES = {
    "whole": [19],
    "steps": [1] * 19,
    "prompt": [9] + [1] * 10,
    "chunks": [8, 4, 7],
    "mixed": [1, 6, 1, 11],
}
CLOSE = 2e-6
"""Of the largest value: float32 sums in another order."""
both = pytest.mark.parametrize("name", FAMILIES)


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("pieces", PIECES)
@both
def test_transformers_computes_the_same(name, pieces):
    ours = FAMILIES[name].ours()
    theirs, x = FAMILIES[name].theirs(ours), inputs(2, TOKENS)
    assert difference(in_pieces(ours, x, PIECES[pieces]), theirs.in_pieces(x, PIECES[pieces])) < CLOSE


def test_transformers_shares_a_choice_alike():
    """GLM-5: a layer that takes over the choice of the layer before it."""
    x = inputs(2, TOKENS)
    ours, theirs = shared_choice(x)
    assert difference(ours, theirs) < CLOSE


@pytest.mark.parametrize(
    "options", [{}, {"absorbed": True}, {"absorbed": False}, {"query_block": 1}, {"query_block": 4}]
)
@pytest.mark.parametrize("pieces", PIECES)
@both
def test_pieces_forms_and_blocks_make_no_difference(name, pieces, options):
    ours, x = FAMILIES[name].ours(), inputs(2, TOKENS)
    assert difference(in_pieces(ours, x, PIECES[pieces], **options), at_once(ours, x)) < CLOSE


@pytest.mark.parametrize(
    "options", [{"absorbed": True}, {"query_block": 1}, {"absorbed": True, "query_block": 1}]
)
@both
def test_forms_and_blocks_without_a_cache(name, options):
    ours, x = FAMILIES[name].ours(), inputs(3, TOKENS)
    assert difference(at_once(ours, x, **options), at_once(ours, x)) < CLOSE


def test_the_choice_matters():
    """With as many kept as there are tokens an indexer changes nothing; with few it does."""
    few = FAMILIES["deepseek-v3.2"].ours()
    x = inputs(2, TOKENS)
    spec = few.spec.model_copy(update={"indexer": few.spec.indexer.model_copy(update={"top_k": TOKENS})})
    all_kept = MlaMixer(spec, HIDDEN, NORM)
    all_kept.load_state_dict(few.state_dict(), assign=True)
    without = MlaMixer(spec.model_copy(update={"indexer": None}), HIDDEN, NORM)
    kept = {name: tensor for name, tensor in few.state_dict().items() if not name.startswith("indexer")}
    without.load_state_dict(kept, assign=True)
    assert difference(at_once(all_kept, x), at_once(without, x)) < CLOSE
    assert difference(at_once(few, x)[:, :TOP_K], at_once(without, x)[:, :TOP_K]) < CLOSE
    assert difference(at_once(few, x)[:, TOP_K:], at_once(without, x)[:, TOP_K:]) > 0.01


@both
def test_tensors_are_those_of_the_inventory(name):
    ours = FAMILIES[name].ours()
    assert shapes(ours) == predicted_shapes(ours.spec)


@both
def test_prefill_multiplies_what_is_predicted(name):
    """A query at a time, where nothing is computed that causality or the choice throws away."""
    ours, x = FAMILIES[name].ours(), inputs(2, TOKENS)
    flops = counted(ours, lambda: at_once(ours, x, query_block=1))
    assert flops == {
        part: 2 * count for part, count in predicted(ours.spec, "prefill", TOKENS, TOKENS).items()
    }


@both
def test_a_decode_step_multiplies_what_is_predicted(name):
    """That of kv_b is one token's: nothing that is cached is projected again."""
    ours, x = FAMILIES[name].ours(), inputs(3, TOKENS + 1)
    state = ours.state(3, TOKENS + 1, x)
    ours(x[:, :TOKENS], state, call_of(x[:, :TOKENS]))
    last = x[:, TOKENS:]
    flops = counted(ours, lambda: ours(last, state, call_of(last, TOKENS)))
    assert flops == {part: 3 * count for part, count in predicted(ours.spec, "decode", 1, TOKENS + 1).items()}
    assert flops["attention.kv_b"] == 3 * 2 * ours.kv_b.numel()


@pytest.mark.parametrize("pieces", PIECES)
@both
def test_a_token_adds_a_latent_and_a_key(name, pieces):
    ours, x = FAMILIES[name].ours(), inputs(2, TOKENS)

    def watch(tokens, state):
        expected = {"attention.latent": tokens * ours.spec.kv_rank, "attention.rope_keys": tokens * 6}
        if ours.spec.indexer is not None:
            expected["indexer.keys"] = tokens * 10
        assert held(state) == expected

    in_pieces(ours, x, PIECES[pieces], watch)


@pytest.mark.parametrize("absorbed", [True, False])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.bfloat16, 0.03), (torch.float16, 0.005)])
@pytest.mark.parametrize("name", ["deepseek-v2", "longcat", "mistral-small-4", "kimi-linear"])
def test_narrow_types(name, dtype, limit, absorbed):
    ours, x = FAMILIES[name].ours(), inputs(2, TOKENS)
    wide = at_once(ours, x)
    narrow = in_pieces(ours.to(dtype), x.to(dtype), [9, 1, 1, 8], absorbed=absorbed)
    assert narrow.dtype == dtype
    assert difference(narrow, wide) < limit


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_narrow_indexer(dtype):
    """Near ties may be chosen otherwise, so that only the tokens before any choice can be compared."""
    ours, x = FAMILIES["deepseek-v3.2"].ours(), inputs(2, TOKENS)
    wide = at_once(ours, x)
    narrow = in_pieces(ours.to(dtype), x.to(dtype), [9, 1, 1, 8])
    assert narrow.isfinite().all()
    assert difference(narrow[:, :TOP_K], wide[:, :TOP_K]) < 0.03


@pytest.mark.parametrize("options", [{}, {"absorbed": True}, {"query_block": 1}])
@both
def test_on_meta(name, options):
    ours = MlaMixer(FAMILIES[name].ours().spec, HIDDEN, NORM)
    x = torch.empty((2, TOKENS, HIDDEN), device="meta")
    assert in_pieces(ours, x, PIECES["mixed"], **options).shape == x.shape


def test_temperature_by_hand():
    factors = position_factors(Temperature(beta=0.5, span=4, first=1), range(2, 12), torch.float32, "cpu")
    by_hand = [1 + 0.5 * math.log(1 + (position + 1) // 4) for position in range(2, 12)]
    assert factors.tolist() == pytest.approx(by_hand, rel=1e-6)


def test_an_explicit_scale():
    """It takes the place of the head's, not of YaRN's temperature."""
    spec = FAMILIES["deepseek-v3"].ours().spec
    usual, x = made(MlaMixer(spec, HIDDEN, NORM)), inputs(1, 7)
    same = made(MlaMixer(spec.model_copy(update={"scale": 13**-0.5}), HIDDEN, NORM))
    other = made(MlaMixer(spec.model_copy(update={"scale": 1.0}), HIDDEN, NORM))
    assert difference(at_once(same, x), at_once(usual, x)) < CLOSE
    assert difference(at_once(other, x), at_once(usual, x)) > 0.01


def test_spans_cover_every_query_once():
    found = list(spans(3, 10, 4))
    assert [list(span.positions) for span in found] == [[3, 4, 5, 6], [7, 8, 9, 10], [11, 12]]
    assert [span.entries(3) for span in found] == [2, 3, 4]
    assert found[0].unseen(3, torch.device("cpu")).tolist() == [
        [False, True],
        [False, True],
        [False, False],
        [False, False],
    ]


def test_a_mixer_without_an_indexer_of_its_own_has_no_tensors_for_it():
    spec = MlaAttention(
        **FAMILIES["glm-5"].ours().spec.model_dump()
        | {"indexer": {"heads": 2, "head_dim": 4, "top_k": 3, "shared": True}}
    )
    shared = MlaMixer(spec, HIDDEN, NORM)
    assert shapes(shared) == predicted_shapes(spec)
    assert "indexer.keys" not in shared.state(1, 5, torch.empty(0))

"""The replica's feed-forward side against transformers' own modules with the same weights, in fp32."""

from __future__ import annotations

import os
from importlib import import_module

import pytest

if os.environ.get("CI"):
    import torch
    import transformers
else:
    REASON = "the referee needs the test extra: pip install -e '.[test]' (torch, transformers)"
    torch = pytest.importorskip("torch", reason=REASON)
    transformers = pytest.importorskip("transformers", reason=REASON)

from referee_moe import EXPERTS, HIDDEN, VOCAB
from referee_moe_families import FAMILIES

from moe_plan.replica.call import Call, Options
from moe_plan.replica.ffn.router import sparsemixer
from moe_plan.spec.model import Norm

BATCH, TOKENS = 3, 29


def call(ids_BT, **options):
    return Call(ids_BT, 0, Norm(), Options(**options))


def inputs(seed=3):
    generator = torch.Generator().manual_seed(seed)
    x_BTD = torch.randn((BATCH, TOKENS, HIDDEN), generator=generator)
    return x_BTD, torch.randint(0, VOCAB, (BATCH, TOKENS), generator=generator)


def spread(ids_TK, weights_TK, choices):
    """[T, E] weights of the chosen experts, and which were chosen."""
    shape = (len(ids_TK), choices)
    weights = torch.zeros(shape).scatter_add_(1, ids_TK, weights_TK.float())
    return weights, torch.zeros(shape, dtype=torch.bool).scatter_(1, ids_TK, value=True)


@pytest.mark.parametrize("name", FAMILIES)
def test_router_is_transformers_own(name):
    family = FAMILIES[name]
    ours = family.ours()
    theirs = family.theirs(ours)
    x_BTD, ids_BT = inputs()
    x_TD, ids_T = x_BTD.flatten(0, 1), ids_BT.flatten()
    choice = ours.router(x_TD, ids_T)
    with torch.no_grad():
        their_ids, their_weights = family.choice(theirs, x_TD, ids_T)
    mine, chosen = spread(choice.experts_TK, choice.weights_TK, ours.choices)
    expected, expected_chosen = spread(their_ids, their_weights, ours.choices)
    assert (chosen.sum(1) == ours.spec.top_k).all()
    assert torch.equal(chosen, expected_chosen)
    assert (mine - expected).abs().max() <= 1e-6 * expected.abs().max().clamp(min=1)


@pytest.mark.parametrize("name", FAMILIES)
def test_block_is_transformers_own(name):
    family = FAMILIES[name]
    ours = family.ours()
    theirs = family.theirs(ours)
    x_BTD, ids_BT = inputs()
    routed_by_BTD = inputs(seed=4)[0] if name == "gemma4" else None
    counts = {}
    given = call(ids_BT, counts=counts)
    given.layer = 5
    mine = ours(x_BTD, given, routed_by_BTD)
    with torch.no_grad():
        if routed_by_BTD is not None:
            expected = theirs(x_BTD, routed_by_BTD)
        else:
            expected = theirs(x_BTD, ids_BT) if family.takes_ids else theirs(x_BTD)
    expected = (expected[0] if isinstance(expected, tuple) else expected).view(x_BTD.shape)
    assert (mine - expected).abs().max() <= 2e-6 * expected.abs().max()
    assert [*counts] == [5]
    assert len(counts[5]) == ours.choices
    assert sum(counts[5]) == BATCH * TOKENS * ours.spec.top_k


@pytest.mark.parametrize("offset", [-4.0, -0.1, 0.0, 3.0, 20.0])
def test_sparsemixer_near_its_margin(offset):
    """Logits within a few percent of each other, of either sign, so that the margin decides what counts."""
    generator = torch.Generator().manual_seed(1)
    logits_TE = offset + 0.05 * abs(offset) * torch.randn((211, EXPERTS), generator=generator)
    if offset == 0.0:
        logits_TE = torch.randn((211, EXPERTS), generator=generator)
    theirs = import_module("transformers.models.phimoe.modeling_phimoe")
    expected_weights, expected_ids = theirs.sparsemixer(logits_TE, 0.01, training=False)
    ids, weights = sparsemixer(logits_TE, 2, None)
    assert torch.equal(ids, expected_ids)
    assert torch.equal(weights, expected_weights)
    shared = ((weights > 0.01) & (weights < 0.99)).any(1).float().mean()
    assert offset == 0.0 or shared > 0.3, "softmaxes over several experts are what is compared"


def test_correction_bias_chooses_and_does_not_weigh():
    """A bias that lifts three experts above all others; their weights are their scores all the same."""
    ours = FAMILIES["deepseek_v3"].ours()
    x_TD = inputs()[0].flatten(0, 1)
    without = ours.router(x_TD, None)
    ours.router.correction_bias.zero_()[:3] = 7.0
    choice = ours.router(x_TD, None)
    assert ((choice.experts_TK < 3).sum(1) == 3).all()
    logits_TE = x_TD @ ours.router.weight.T
    scores = logits_TE.sigmoid().gather(1, choice.experts_TK)
    expected = 2.5 * scores / scores.sum(1, keepdim=True)
    torch.testing.assert_close(choice.weights_TK, expected)
    assert not torch.equal(choice.experts_TK.sort(1)[0], without.experts_TK.sort(1)[0])

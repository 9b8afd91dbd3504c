"""Routings that do not come from a router: distinct in a token, as popular as they promise, the same for a seed."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import deterministic

if os.environ.get("CI"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="the replica needs torch: pip install -e '.[replica]'")

from moe_plan.estimate.inclusion import inclusion_probabilities
from moe_plan.estimate.reads import expected_distinct
from moe_plan.replica.ffn.distinct import distinct_rows
from moe_plan.replica.routing import Balanced, Counts, Uniform, Zipf

MEASURED = tuple(tuple((7 * layer + 3 * expert) ** 2 % 31 for expert in range(23)) for layer in range(3))


def every(seed=0):
    return {
        "balanced": Balanced(),
        "uniform": Uniform(seed),
        "zipf": Zipf(1.2, seed),
        "counts": Counts(MEASURED, seed),
    }


@pytest.mark.parametrize("name", every())
@pytest.mark.parametrize("tokens", [0, 1, 97])
def test_a_choice_is_what_the_protocol_says(name, tokens):
    ids = every()[name].choose(1, tokens, 5, 23)
    assert ids.shape == (tokens, 5)
    assert ids.dtype == torch.int64
    assert ids.device.type == "cpu"
    assert all(len(set(row)) == 5 for row in ids.tolist())
    assert tokens == 0 or (ids.min() >= 0 and ids.max() < 23)


@pytest.mark.parametrize("name", every())
def test_a_seed_repeats_and_a_call_does_not(name):
    def drawn(seed):
        routing = every(seed)[name]
        return torch.stack([routing.choose(layer, 40, 3, 23) for layer in (0, 1, 1)])

    assert torch.equal(drawn(5), drawn(5))
    if name != "balanced":
        assert not torch.equal(drawn(5), drawn(6))
        assert not torch.equal(*drawn(5)[1:])


@deterministic
@given(st.integers(1, 300), st.integers(1, 64), st.data())
def test_balanced_counts_differ_by_one_at_most(tokens, choices, data):
    top_k = data.draw(st.integers(1, choices))
    ids = Balanced().choose(0, tokens, top_k, choices)
    assert all(len(set(row)) == top_k for row in ids.tolist())
    counts = ids.flatten().bincount(minlength=choices)
    assert counts.max() - counts.min() <= (tokens * top_k % choices > 0)


@deterministic
@given(st.integers(1, 40), st.data())
def test_distinct_rows_are_distinct(choices, data):
    top_k = data.draw(st.integers(1, choices))
    rows = distinct_rows(31, top_k, choices, torch.Generator().manual_seed(1))
    assert all(len({e for e in row if 0 <= e < choices}) == top_k for row in rows.tolist())


def test_distinct_rows_draw_every_pair_alike():
    """60,000 pairs of 6: each of the 15 within five standard errors of a fifteenth."""
    rows = distinct_rows(60_000, 2, 6, torch.Generator().manual_seed(2)).sort(1)[0]
    counts = (rows[:, 0] * 6 + rows[:, 1]).bincount()
    seen = counts[counts > 0].double() / 60_000
    assert len(seen) == 15
    assert (seen - 1 / 15).abs().max() < 5 * (1 / 15 * 14 / 15 / 60_000) ** 0.5


@pytest.mark.parametrize("name", ["uniform", "zipf", "counts"])
def test_experts_are_chosen_as_often_as_their_popularity_says(name):
    """30,000 tokens: each expert within five standard errors of its chance."""
    routing, tokens = every()[name], 30_000
    ids = routing.choose(2, tokens, 4, 23)
    chances = torch.tensor(inclusion_probabilities(routing.popularity(2, 23), 4), dtype=torch.float64)
    seen = ids.flatten().bincount(minlength=23).double() / tokens
    errors = (chances * (1 - chances) / tokens).sqrt()
    assert ((seen - chances).abs() <= 5 * errors).all()
    assert (seen[chances == 0] == 0).all()


@pytest.mark.parametrize("name", ["uniform", "zipf", "counts"])
@pytest.mark.parametrize("tokens", [2, 9, 30])
def test_distinct_experts_are_as_expected(name, tokens):
    """The mean over 600 batches, within four standard errors of the formula."""
    routing = every()[name]
    touched = torch.tensor([len(routing.choose(0, tokens, 4, 23).unique()) for _ in range(600)]).double()
    error = touched.std() / 600**0.5
    expected = expected_distinct(routing.popularity(0, 23), 4, tokens)
    assert abs(touched.mean() - expected) <= 4 * error


def test_zipf_ranks_each_layer_anew():
    routing = Zipf(1.0, 3)
    one, other = routing.popularity(0, 23), routing.popularity(1, 23)
    assert sorted(one, reverse=True) == [1 / rank for rank in range(1, 24)]
    assert sorted(one) == sorted(other)
    assert one != other
    assert one == Zipf(1.0, 3).popularity(0, 23)
    assert set(Zipf(0.0).popularity(0, 23)) == {1.0}


def test_counts_of_another_model_are_refused():
    routing = Counts(((), (3, 4, 0)))
    with pytest.raises(ValueError, match="layer 0 has 3 experts to choose among, and counts of 0"):
        routing.choose(0, 2, 2, 3)
    with pytest.raises(ValueError, match="layer 2 has 3 experts"):
        routing.choose(2, 2, 2, 3)
    with pytest.raises(ValueError, match="chooses 3, and only 2 choices have any popularity"):
        routing.choose(1, 2, 3, 3)
    assert set(routing.choose(1, 50, 2, 3).flatten().tolist()) == {0, 1}

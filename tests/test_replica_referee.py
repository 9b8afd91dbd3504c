"""The referee on whole models: what a YAML says is what transformers' own class computes.

Every `referee_whole_*.py` has `CASES` by name, and may have `UNREFEREED`: catalogue models with the reason why
no class can judge them. A case runs at friendly sizes, and at odd, unequal ones where its class allows them.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

import pytest

from moe_plan.spec.catalogue import names as catalogue

if os.environ.get("CI"):
    import torch  # noqa: F401
    import transformers  # noqa: F401
else:
    REASON = "the referee needs the test extra: pip install -e '.[test]' (torch, transformers)"
    pytest.importorskip("torch", reason=REASON)
    pytest.importorskip("transformers", reason=REASON)

from whole_case import Case
from whole_referee import (
    difference,
    pair,
    parameters,
    predicted_parameters,
    run_ours,
    run_theirs,
)

TOLERANCE = 5e-6
"""Of logits, relative to the largest, in float32."""
GROUPS = [import_module(path.stem) for path in sorted(Path(__file__).parent.glob("referee_whole_*.py"))]
CASES: dict[str, Case] = {
    name: case for group in GROUPS for name, case in getattr(group, "CASES", {}).items()
}
UNREFEREED: dict[str, str] = {
    name: reason for group in GROUPS for name, reason in getattr(group, "UNREFEREED", {}).items()
}
SIZES = [
    pytest.param((name, odd), id=f"{name}-{'odd' if odd else 'even'}")
    for name, case in CASES.items()
    for odd in ((False, True) if case.odd else (False,))
]


@pytest.fixture(scope="module", params=SIZES)
def both(request):
    """Both models with the same weights, and what became of them."""
    name, odd = request.param
    made = pair(CASES[name], odd=odd)
    return made, run_ours(made), run_theirs(made)


def test_parameters(both):
    """Every element has its place (or the pair could not be made), and the calculator counts as many."""
    made, _, _ = both
    assert bool(made.surplus) == bool(made.case.surplus)
    assert predicted_parameters(made.spec) == parameters(made.theirs) - made.surplus


def test_prefill(both):
    """The logits of every token of the prompt."""
    _, ours, theirs = both
    assert difference(ours.prefill, theirs.prefill) < TOLERANCE


def test_greedy_tokens_through_the_cache(both):
    """The same token after each step, and the same logits."""
    _, ours, theirs = both
    assert ours.tokens.tolist() == theirs.tokens.tolist()
    assert difference(ours.steps, theirs.steps) < TOLERANCE


def test_cache(both):
    """What each layer holds after the prompt and after each step, in elements."""
    _, ours, theirs = both
    assert ours.held == theirs.held


def test_every_model_of_the_catalogue_is_refereed_or_named():
    refereed = {case.model for case in CASES.values() if case.spec is None}
    assert not refereed & set(UNREFEREED)
    assert refereed | set(UNREFEREED) == set(catalogue())


def test_at_least_twenty_families():
    assert len({case.family for case in CASES.values()}) >= 20

"""The referee on whole models would notice: every field that decides how data flows, changed, changes the logits.

Ours equals theirs to one part in a million (test_replica_referee.py), so what moves ours by more would be seen.
Both sides take their numbers from the spec: that these are the release's is for test_referee_facts.py.
"""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the test extra: pip install -e '.[test]'")
pytest.importorskip("transformers", reason="needs the test extra: pip install -e '.[test]'")

import torch
from test_replica_referee import CASES, TOLERANCE
from whole_case import Case
from whole_changes import changes
from whole_referee import SOURCE, difference, shrunk, tokens

from moe_plan.replica import build
from moe_plan.replica.shrink import TOKENS
from moe_plan.spec.model import ModelSpec

CLEAR = 4 * TOLERANCE
CATALOGUE_FIRST = sorted(CASES.values(), key=lambda case: case.spec is not None)
ONE_OF_EACH = {case.family: case for case in reversed(CATALOGUE_FIRST)}
UNFELT = {
    ("Gemma4", "ffn.experts.router.scale"): "a norm follows the experts",
    (
        "SwitchTransformers",
        "ffn.experts.router.weigh_input",
    ): "relu of a positive multiple is that multiple of relu",
    ("DeepseekV4", "attention.every-4.indexer.interleaved"): "decides beside MLA only",
}


@torch.no_grad()
def logits(case: Case, spec: ModelSpec) -> torch.Tensor:
    """Of the prompt; the same weights for every spec of the same shapes."""
    replica = build.materialise(build.on_meta(spec), torch.device("cpu"), case.seed)
    source = tokens(spec, SOURCE, 2) if spec.parts else None
    return replica(tokens(spec, TOKENS, 1), source_BS=source)


@pytest.mark.parametrize("family", ONE_OF_EACH)
def test_every_field_is_felt(family):
    case = ONE_OF_EACH[family]
    spec = shrunk(case, odd=False)
    before = logits(case, spec)
    moved = {place: difference(logits(case, changed), before) for place, changed in changes(spec)}
    unfelt = {place for place, by in moved.items() if by < CLEAR}
    assert len(moved) > 8
    assert unfelt == {place for name, place in UNFELT if name == family}

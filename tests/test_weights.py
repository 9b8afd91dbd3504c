"""Which format holds which tensor: rules, tied heads, towers."""

from __future__ import annotations

import pytest

from moe_plan.anatomy.inventory import Weight
from moe_plan.api import load
from moe_plan.estimate.weights import Storage

HEAD = Weight("lm_head", "lm_head", (32, 8), stored=False)


@pytest.mark.parametrize(("tensors", "found"), [({"embedding"}, "int8"), ({"lm_head"}, "bf16")])
def test_a_tied_head_has_the_format_of_the_table_it_is(tensors, found):
    storage = Storage("x", "bf16", (("int8", frozenset(tensors)),))
    assert storage.format_of(HEAD) == found


def test_a_tied_head_is_read_at_the_size_it_is_stored():
    model = load("gemma-4-26b-a4b")
    tables = {w.name: w for w, _ in model.inventory.text_weights() if w.name in ("embedding", "lm_head")}
    for name in ("native", "int8", "q6_k"):
        storage = model.storage(name)
        assert storage.format_of(tables["embedding"]) == storage.format_of(tables["lm_head"])


def test_towers_stay_unquantised():
    model = load("mistral-small-4-119b")
    plain = sum(model.parts["vision"].values()) * 2
    assert model.checkpoint_bytes("native") - model.weight_bytes("native") == plain + sum(
        2 * count for count in model.parts["projector"].values()
    )

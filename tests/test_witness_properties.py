"""For random specs, the replica is what the inventory says, and computes the same however it is run."""

from __future__ import annotations

import os
from fractions import Fraction

import pytest

if os.environ.get("CI"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="the replica needs torch: pip install -e '.[replica]'")

from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from runnable import calm, runnable
from strategies import ATTENTION_KINDS, on_models

from moe_plan.anatomy.build import inventory, unfolded
from moe_plan.api import model
from moe_plan.replica import build
from moe_plan.replica.cache import Cache
from moe_plan.replica.call import Options
from moe_plan.replica.shrink import LADDER, shrink
from moe_plan.spec.model import ModelSpec
from moe_plan.witness.parameters import parameter_lines, weight_byte_line
from moe_plan.witness.run import Shape
from moe_plan.witness.verify import run_lines

CPU = torch.device("cpu")
CLOSE = 1e-4
"""Of the largest logit: float32 sums in another order, through four layers with factors up to 2.5."""
# To make a failing model small takes longer than to read it.
on_models = settings(on_models, phases=(Phase.generate,))
few = settings(on_models, max_examples=25)
TOKENS, BATCH = 9, 3
KINDS = pytest.mark.parametrize("kind", ATTENTION_KINDS)


@pytest.fixture(autouse=True)
def _no_grad():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(threads)


def differing(lines):
    """Lines that are not equal to the last unit; none is judged by a band here."""
    found = list(lines)
    assert len(found) > 2
    return [line for line in found if line.predicted != line.measured]


def made(spec: ModelSpec, seed: int = 1):
    return build.materialise(build.on_meta(spec), CPU, seed)


# What is held and multiplied: the inventory.


@settings(on_models, max_examples=60)
@given(runnable())
def test_tensors_are_those_of_the_inventory(spec):
    replica = build.on_meta(spec)
    assert differing(parameter_lines(inventory(spec), replica)) == []
    for dtype in ("fp32", "bf16"):
        line = weight_byte_line(inventory(spec), build.on_meta(spec, dtype), dtype)
        assert line.predicted == line.measured


@settings(on_models, max_examples=30)
@given(runnable(), st.sampled_from([Shape(2, 7, 2), Shape(1, 1, 3), Shape(3, 11, 1)]))
def test_flops_and_caches_are_those_of_the_inventory(spec, shape):
    """Really run, with the router's own choices."""
    assert differing(run_lines(spec, made(spec), shape, 0)) == []


@settings(on_models, max_examples=20)
@given(calm(), st.sampled_from([Shape(2, 5, 1), Shape(1, 3, 2)]))
def test_flops_and_caches_on_meta_are_those_of_the_inventory(spec, shape):
    """Nothing is computed, and experts are dealt out in turn; few layers, each of which takes its time there."""
    assert differing(run_lines(spec, build.on_meta(spec, "bf16"), shape, 0)) == []


# Smaller, of the same structure.


def kinds(spec: ModelSpec):
    """Kinds of the blocks of each layer, and how they are joined, each once in the order of the layers."""
    layers = {}
    for run in unfolded(spec.layers):
        attention = [run.attention] if isinstance(run.attention, str) else run.attention or ()
        ffn = [run.ffn] if isinstance(run.ffn, str) else run.ffn or ()
        found = (tuple(spec.attention[n].kind for n in attention), tuple(spec.ffn[n].kind for n in ffn))
        layers[found, run.flow] = True
    return list(layers)


steps = st.sampled_from(LADDER[1:])


@few
@given(runnable(), steps)
def test_a_shrunk_model_is_valid_and_of_the_same_kinds(spec, scale):
    small = shrink(spec, scale).spec
    assert set(kinds(small)) == set(kinds(spec))
    assert ModelSpec.model_validate(small.model_dump()) == small
    assert ModelSpec.model_validate_json(small.model_dump_json()) == small


@few
@given(runnable(), steps)
def test_shrinking_to_the_whole_changes_nothing_more(spec, scale):
    small = shrink(spec, scale).spec
    assert shrink(small, 1).spec == small


@few
@given(runnable(), steps, steps)
def test_a_smaller_scale_is_no_larger_model(spec, one, other):
    assume(one != other)
    smaller, larger = (model(shrink(spec, scale).spec).total_params for scale in sorted((one, other)))
    assert smaller <= larger


@few
@given(runnable(), steps)
def test_a_shrunk_model_is_still_what_the_inventory_says(spec, scale):
    small = shrink(spec, scale, tokens=8).spec
    assert differing(parameter_lines(inventory(small), build.on_meta(small))) == []
    assert differing(run_lines(small, made(small), Shape(2, 8, 1), 0)) == []


# However it is run.


class Placed:
    """Experts drawn once for every token of every sequence: the same whatever is run together."""

    def __init__(self, seed: int = 0) -> None:
        self.seed, self.start = seed, 0
        self.rows = list(range(BATCH))
        """The sequences that are run, by their numbers here."""

    def choose(self, layer: int, tokens: int, top_k: int, choices: int) -> torch.Tensor:
        new = tokens // len(self.rows)
        generator = torch.Generator().manual_seed(self.seed + 1000 * layer + choices)
        drawn = torch.rand((BATCH, 64, choices), generator=generator).argsort(-1)[..., :top_k]
        return drawn[self.rows, self.start : self.start + new].reshape(tokens, top_k)


def ids_of(spec: ModelSpec, seed: int = 5) -> torch.Tensor:
    return torch.randint(0, spec.vocab, (BATCH, TOKENS), generator=torch.Generator().manual_seed(seed))


def logits(replica, ids_BT, pieces, rows=(0, 1, 2), **options):
    """Logits of all tokens, `pieces` new ones at a time through a cache; without one where there are none."""
    routing = Placed()
    routing.rows = list(rows)
    given_options = Options(routing=routing, **options)
    source_BS = ids_BT.flip(1)[:, :6] if replica.encoders else None
    if not pieces:
        return replica(ids_BT, None, given_options, source_BS)
    cache, outs = Cache(replica, len(ids_BT), TOKENS), []
    for new in pieces:
        routing.start = cache.tokens
        part = ids_BT[:, cache.tokens : cache.tokens + new]
        outs.append(replica(part, cache, given_options, source_BS if cache.tokens == 0 else None))
    assert cache.tokens == TOKENS
    return torch.cat(outs, 1)


def assert_close(ours, theirs):
    assert ours.shape == theirs.shape
    assert ours.isfinite().all()
    assert (ours - theirs).abs().max() <= CLOSE * theirs.abs().max()


splits = st.integers(1, TOKENS - 1).map(lambda first: [first, TOKENS - first])


@KINDS
def test_a_prefill_is_as_many_decode_steps(kind):
    @settings(on_models, max_examples=5)
    @given(calm(kinds=(kind,)), splits, st.data())
    def run(spec, pieces, data):
        replica, ids_BT = made(spec), ids_of(spec)
        whole = logits(replica, ids_BT, [])
        assert_close(logits(replica, ids_BT, [TOKENS]), whole)
        assert_close(logits(replica, ids_BT, [1] * TOKENS), whole)
        assert_close(logits(replica, ids_BT, pieces), whole)
        first = data.draw(st.integers(1, TOKENS - 1))
        assert_close(logits(replica, ids_BT, [first] + [1] * (TOKENS - first)), whole)

    run()


@settings(on_models, max_examples=12)
@given(calm(), splits, st.integers(1, TOKENS + 1))
def test_pieces_and_query_blocks_make_no_difference(spec, pieces, block):
    replica, ids_BT = made(spec), ids_of(spec)
    whole = logits(replica, ids_BT, [])
    assert_close(logits(replica, ids_BT, pieces, query_block=block), whole)
    assert_close(logits(replica, ids_BT, [], query_block=block), whole)
    assert_close(logits(replica, ids_BT, [], query_block=1), whole)


@settings(on_models, max_examples=12)
@given(calm(kinds=("mla",)), splits)
def test_absorbed_is_expanded(spec, pieces):
    replica, ids_BT = made(spec), ids_of(spec)
    whole = logits(replica, ids_BT, [], absorbed=False)
    for run in ([], pieces, [1] * TOKENS):
        assert_close(logits(replica, ids_BT, run, absorbed=True), whole)
        assert_close(logits(replica, ids_BT, run, absorbed=False), whole)


@settings(on_models, max_examples=12)
@given(calm(), st.permutations(range(BATCH)), splits)
def test_sequences_are_independent(spec, order, pieces):
    replica, ids_BT = made(spec), ids_of(spec)
    whole = logits(replica, ids_BT, pieces)
    assert_close(logits(replica, ids_BT[order], pieces, rows=order), whole[list(order)])
    for row in range(BATCH):
        assert_close(logits(replica, ids_BT[row : row + 1], pieces, rows=[row]), whole[row : row + 1])


@settings(on_models, max_examples=12)
@given(calm(), splits)
def test_later_tokens_are_not_seen(spec, pieces):
    """Other tokens at the end change nothing before them."""
    replica, ids_BT = made(spec), ids_of(spec)
    other_BT = ids_BT.clone()
    first = pieces[0]
    other_BT[:, first:] = (other_BT[:, first:] + 1) % spec.vocab
    assume(not replica.encoders)
    whole = logits(replica, ids_BT, [])
    assert_close(logits(replica, other_BT, [])[:, :first], whole[:, :first])


@settings(on_models, max_examples=12)
@given(calm())
def test_only_the_last_logits(spec):
    replica, ids_BT = made(spec), ids_of(spec)
    whole = logits(replica, ids_BT, [])
    assert_close(logits(replica, ids_BT, [], logits="last"), whole[:, -1:])
    assert_close(logits(replica, ids_BT, [1] * TOKENS, logits="last"), whole)


def test_scales_of_the_ladder_fall():
    assert list(LADDER) == sorted(LADDER, reverse=True)
    assert LADDER[0] == Fraction(1)


FEATURES = {
    *ATTENTION_KINDS,
    *("sequential", "sandwich", "normed-residual", "dense-residual", "shortcut", "parallel-sandwich"),
    *(
        "window",
        "chunk",
        "cross",
        "shared_kv",
        "shared_positions",
        "position_buckets",
        "keys_as_values",
        "sinks",
    ),
    *("indexer", "shared indexer", "zero_experts", "latent", "groups", "token_table", "two mixtures"),
    *("encoder", "hyper_connections", "tensors", "tied"),
}


def features(spec: ModelSpec):
    """What the layers of the decoder have, by the names above."""
    for run in unfolded(spec.layers):
        attention = [run.attention] if isinstance(run.attention, str) else run.attention or ()
        ffn = [spec.ffn[n] for n in ([run.ffn] if isinstance(run.ffn, str) else run.ffn or ())]
        yield run.flow
        for block in [*(spec.attention[name] for name in attention), *ffn]:
            yield block.kind
            yield from (name for name in FEATURES if getattr(block, name, None))
            yield from (name for name in FEATURES if getattr(getattr(block, "router", None), name, None))
            if getattr(block, "indexer", None) is not None and block.indexer.shared:
                yield "shared indexer"
        if sum(block.kind == "moe" for block in ffn) > 1:
            yield "two mixtures"
    yield from (name for name in ("hyper_connections", "tensors", "tied") if getattr(spec, name))
    yield from (part.role for part in spec.parts.values() if part.layers)


def seen_in(strategy: st.SearchStrategy[ModelSpec], examples: int) -> set[str]:
    seen: set[str] = set()

    @settings(on_models, max_examples=examples)
    @given(strategy)
    def look(spec):
        seen.update(features(spec))

    look()
    return seen


def test_random_specs_have_everything():
    """Otherwise the tests above would look at little."""
    assert seen_in(runnable(), 150) >= FEATURES
    assert set().union(*(seen_in(calm((kind,)), 15) for kind in ATTENTION_KINDS)) >= FEATURES

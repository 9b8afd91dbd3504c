"""DeepSeek-V4's attention and hyper-connections: against transformers, themselves, and the inventory."""

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
    made,
    predicted,
    predicted_shapes,
    shapes,
)
from referee_compressed import SPECS, STREAMS, WINDOW, Theirs, connections, heads, ours

from moe_plan.replica.attention.compressed import Compressed
from moe_plan.replica.attention.parts import softmax_of_all
from moe_plan.replica.hyper import Hyper, HyperHead, doubly_stochastic
from moe_plan.spec.attention import CompressedAttention, Indexer

TOKENS = 29
PIECES = {
    "whole": [29],
    "steps": [1] * 29,
    "prompt": [9] + [1] * 20,
    "chunks": [8, 4, 17],
    "short": [1, 2, 26],
    "mixed": [2, 1, 5, 1, 1, 13, 6],
}
CLOSE = 2e-6
"""Of the largest value: float32 sums in another order."""
every = pytest.mark.parametrize("name", SPECS)
SHARED = Indexer(heads=17, head_dim=8, top_k=2, shared=True)


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@every
def test_transformers_computes_the_same_without_a_cache(name):
    mixer, x = ours(name), inputs(2, TOKENS)
    assert difference(at_once(mixer, x), Theirs.like(name, mixer)(x)) < CLOSE


@pytest.mark.parametrize("pieces", PIECES)
@every
def test_transformers_computes_the_same(name, pieces):
    mixer, x = ours(name), inputs(2, TOKENS)
    theirs = Theirs.like(name, mixer).in_pieces(x, PIECES[pieces])
    assert difference(in_pieces(mixer, x, PIECES[pieces]), theirs) < CLOSE


# What no release combines: entries that overlap and are all seen, entries that do not and are chosen.
OTHER = {
    "all-overlap": {"ratio": 4, "overlap": True},
    "chosen-apart": {"ratio": 2, "indexer": Indexer(heads=17, head_dim=8, top_k=3)},
    "no-positions": {"ratio": 3, "overlap": True, "rope": None},
    "no-sinks": {"ratio": 5, "sinks": False},
    "long-entries": {"ratio": 7, "overlap": True, "indexer": Indexer(heads=17, head_dim=6, top_k=1)},
    "each-token": {"ratio": 1, "overlap": True, "indexer": Indexer(heads=17, head_dim=6, top_k=4)},
}


def mixer_of(name):
    spec = SPECS[name] if name in SPECS else SPECS["window"] | OTHER[name]
    return made(Compressed(CompressedAttention(kind="compressed", **spec), HIDDEN, NORM))


everything = pytest.mark.parametrize("name", [*SPECS, *OTHER])


@pytest.mark.parametrize("block", [1, 3, 256])
@pytest.mark.parametrize("pieces", PIECES)
@everything
def test_pieces_and_blocks_make_no_difference(name, pieces, block):
    mixer, x = mixer_of(name), inputs(2, TOKENS)
    assert difference(in_pieces(mixer, x, PIECES[pieces], query_block=block), at_once(mixer, x)) < CLOSE


def test_a_cache_of_just_enough_room():
    """Rings that are never full, and one entry too few for any choice."""
    mixer, x = mixer_of("sparse"), inputs(2, 4)
    assert difference(in_pieces(mixer, x, [1, 1, 1, 1]), at_once(mixer, x)) < CLOSE


@everything
def test_tensors_are_those_of_the_inventory(name):
    mixer = mixer_of(name)
    assert shapes(mixer) == predicted_shapes(mixer.spec)


@everything
def test_prefill_multiplies_what_is_predicted(name):
    mixer, x = mixer_of(name), inputs(2, TOKENS)
    flops = counted(mixer, lambda: at_once(mixer, x, query_block=1))
    assert flops == {
        part: 2 * count for part, count in predicted(mixer.spec, "prefill", TOKENS, TOKENS).items()
    }


@everything
def test_decode_steps_multiply_what_is_predicted(name):
    mixer, x = mixer_of(name), inputs(3, TOKENS)
    state = mixer.state(3, TOKENS, x)
    for position in range(TOKENS):
        token = x[:, position : position + 1]
        flops = counted(mixer, lambda: mixer(token, state, call_of(token, position)))  # noqa: B023  called at once
        expected = predicted(mixer.spec, "decode", 1, position + 1)
        assert flops == {part: 3 * count for part, count in expected.items()}


@pytest.mark.parametrize("pieces", PIECES)
@everything
def test_states_hold_a_window_and_an_entry_for_each_full_group(name, pieces):
    mixer, x = mixer_of(name), inputs(2, TOKENS)
    spec = mixer.spec

    def watch(tokens, state):
        expected = {"attention.window": min(tokens, WINDOW) * 10}
        if spec.ratio is not None:
            groups = 2 if spec.overlap else 1
            waiting = min(tokens, groups * spec.ratio) * groups
            expected["compressor.entries"] = tokens // spec.ratio * 10
            expected |= dict.fromkeys(("compressor.pending_kv", "compressor.pending_gate"), waiting * 10)
            if spec.indexer is not None:
                width = spec.indexer.head_dim
                expected["indexer.keys"] = tokens // spec.ratio * width
                expected |= dict.fromkeys(("indexer.pending_kv", "indexer.pending_gate"), waiting * width)
        assert held(state) == expected

    in_pieces(mixer, x, PIECES[pieces], watch)


def test_a_shared_indexer_takes_over_the_choice():
    """With the same weights the layer that shares gives what the layer that chose gives."""
    first, x = mixer_of("sparse"), inputs(2, TOKENS)
    spec = CompressedAttention(kind="compressed", **SPECS["sparse"] | {"indexer": SHARED})
    second = Compressed(spec, HIDDEN, NORM)
    kept = {key: tensor for key, tensor in first.state_dict().items() if not key.startswith("indexer")}
    second.load_state_dict(kept, assign=True)
    call = call_of(x, query_block=4)
    assert torch.equal(first(x, None, call), second(x, None, call))
    assert shapes(second) == predicted_shapes(spec)


@pytest.mark.parametrize(("dtype", "limit"), [(torch.bfloat16, 0.06), (torch.float16, 0.01)])
@pytest.mark.parametrize("name", ["window", "heavy", "all-overlap"])
def test_narrow_types(name, dtype, limit):
    mixer, x = mixer_of(name), inputs(2, TOKENS)
    wide = at_once(mixer, x)
    narrow = in_pieces(mixer.to(dtype), x.to(dtype), PIECES["mixed"])
    assert narrow.dtype == dtype
    assert difference(narrow, wide) < limit


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_narrow_indexer(dtype):
    """Near ties may be chosen otherwise: until there is a choice the same is computed."""
    mixer, x = mixer_of("sparse"), inputs(2, TOKENS)
    wide = at_once(mixer, x)
    narrow = in_pieces(mixer.to(dtype), x.to(dtype), PIECES["mixed"])
    assert narrow.isfinite().all()
    assert difference(narrow[:, :8], wide[:, :8]) < 0.06


@pytest.mark.parametrize("block", [1, 256])
@everything
def test_on_meta(name, block):
    mixer = Compressed(mixer_of(name).spec, HIDDEN, NORM)
    x = torch.empty((2, TOKENS, HIDDEN), device="meta")
    assert in_pieces(mixer, x, PIECES["mixed"], query_block=block).shape == x.shape


def test_one_softmax_over_several_tensors():
    scores = [inputs(2, 3, 4), inputs(2, 3, 5, seed=2)]
    sinks = torch.tensor([[0.3], [-0.5], [1.1]])
    joined = torch.cat((*scores, sinks.expand(2, 3, 1)), -1).softmax(-1)
    weights = softmax_of_all(list(scores), sinks)
    assert difference(torch.cat(weights, -1), joined[..., :-1]) < CLOSE


# Hyper-connections.


def streams(tokens=7):
    return inputs(2, tokens * STREAMS).view(2, tokens, STREAMS, HIDDEN)


def test_transformers_reads_and_writes_streams_alike():
    mine, theirs = connections()
    x, out = streams(), inputs(2, 7, seed=4)
    post, mixing, collapsed = theirs(x)
    read, carry = mine.read(x)
    assert difference(read, collapsed) < CLOSE
    written = post.unsqueeze(-1) * out.unsqueeze(-2) + mixing.transpose(-1, -2) @ x
    assert difference(mine.write(x, out, carry), written) < CLOSE


def test_transformers_collapses_streams_alike():
    mine, theirs = heads()
    assert difference(mine(streams()), theirs(streams())) < CLOSE


def test_streams_are_left_as_they_were():
    mine, x = connections()[0], streams()
    before = x.clone()
    read, carry = mine.read(x)
    mine.write(x, read, carry)
    assert torch.equal(x, before)


def test_mixing_is_doubly_stochastic():
    mixing = doubly_stochastic(inputs(2, 5, STREAMS * STREAMS).exp().view(2, 5, STREAMS, STREAMS))
    ones = torch.ones((2, 5, STREAMS))
    assert difference(mixing.sum(-1), ones) < 1e-3
    assert difference(mixing.sum(-2), ones) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_connections_multiply_what_is_predicted(dtype):
    """Maps of the streams and their mixing, and under the names of the inventory; sums over streams are not."""
    mine, head, x = connections()[0].to(dtype), heads()[0].to(dtype), streams().to(dtype)

    def run():
        read, carry = mine.read(x)
        written = mine.write(x, read, carry)
        assert (read.dtype, written.dtype, head(written).dtype) == (dtype, dtype, dtype)

    rows, maps = 2 * 7, STREAMS * (STREAMS + 2)
    with_head = counted(mine, run)
    assert with_head == {
        "hyper.1.maps": rows * 2 * maps * STREAMS * HIDDEN,
        "hyper.1.mix": rows * 2 * STREAMS * STREAMS * HIDDEN,
        "hyper.head.maps": rows * 2 * STREAMS * STREAMS * HIDDEN,
    }


def test_narrow_connections():
    mine, x = connections()[0], streams()
    wide, _ = mine.read(x)
    narrow, carry = mine.to(torch.bfloat16).read(x.bfloat16())
    assert difference(narrow, wide) < 0.03
    assert carry.mixing_BTSS.dtype == torch.bfloat16


def test_connections_on_meta():
    mine, head = Hyper(STREAMS, HIDDEN, 0, NORM), HyperHead(STREAMS, HIDDEN, NORM)
    x = torch.empty((2, 3, STREAMS, HIDDEN), device="meta")
    read, carry = mine.read(x)
    assert head(mine.write(x, read, carry)).shape == (2, 3, HIDDEN)
